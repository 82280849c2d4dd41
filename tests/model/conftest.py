"""Tests of the model run on one thread."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from tinygptv.model import checkpoint
from tinygptv.model.modeling import TinyGPTVForConditionalGeneration


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Tensors this small are faster on one thread, and do not wait for the machine's other work."""
    torch.set_num_threads(1)


@pytest.fixture
def backbones(
    tmp_path: Path,
    make_model: Callable[..., TinyGPTVForConditionalGeneration],
    tokenizer: PreTrainedTokenizerFast,
) -> Path:
    """What the step ``backbones`` leaves, with the weights of ``make_model(5)``."""
    folder = tmp_path / "backbones"
    folder.mkdir()
    model = make_model(seed=5)
    checkpoint.save_weights(folder / checkpoint.IMAGE_ENCODER, model.image_encoder.state_dict())
    checkpoint.save_weights(folder / checkpoint.LANGUAGE_MODEL, model.language_model.state_dict())
    tokenizer.save_pretrained(folder)
    return folder

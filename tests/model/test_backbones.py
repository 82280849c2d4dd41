"""Backbones from their files: what does not fit is refused, and the image side stands alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tinygptv.config import Config
from tinygptv.ground import file_names
from tinygptv.ground.errors import CheckpointError
from tinygptv.model import assembly, weights
from tinygptv.model.backbones import image_encoder
from tinygptv.model.modeling import TinyGPTVForConditionalGeneration


def test_backbones_that_do_not_fit_are_refused_by_tensor(backbones: Path, smoke: Config) -> None:
    tensors = weights.load_weights(backbones / file_names.LANGUAGE_MODEL)
    tensors["lm_head.bias"] = torch.zeros(3)
    tensors["more"] = tensors.pop("lm_head.weight")
    weights.save_weights(backbones / file_names.LANGUAGE_MODEL, tensors)
    expected = r"missing: lm_head\.weight; unknown: more; of another shape: lm_head\.bias"
    with pytest.raises(CheckpointError, match=expected):
        assembly.assemble(smoke, backbones, with_tower=False)


def test_the_image_encoder_is_the_same_whatever_the_language_model(
    backbones: Path, make_model: Callable[..., TinyGPTVForConditionalGeneration], smoke: Config
) -> None:
    other = smoke.model.text.model_copy(update={"hidden_size": 64, "vocab_size": 7})
    alone = image_encoder(smoke.model.model_copy(update={"text": other}), backbones, torch.float32)
    whole = make_model(seed=5).image_encoder
    size = smoke.model.vision.image_size
    pixels_BCHW = torch.randn(2, 3, size, size)
    with torch.inference_mode():
        assert torch.equal(alone(pixels_BCHW), whole(pixels_BCHW))

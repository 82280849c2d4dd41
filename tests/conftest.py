"""Fixtures that several packages of tests share: small real data, the smoke profile, a tokenizer, a tiny model."""

from __future__ import annotations

import gc
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tinygptv.config.profiles import read_config
from tinygptv.data import shards
from tinygptv.ground import file_names
from tinygptv.ground.startup import spare_collector, wait_briefly

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from tinygptv.config import Config
    from tinygptv.model.modeling import TinyGPTVForConditionalGeneration
    from tinygptv.model.processing import TinyGPTVProcessor

wait_briefly()
spare_collector()
# Tensors of tests are small: a second thread costs more than it computes. torch reads this when it is imported, also in
# the processes that tests start.
os.environ["OMP_NUM_THREADS"] = "1"
pytest_plugins = ["tests.drills.plugin", "tests.checkouts"]


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The system's temporary folder, for the test alone."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture(scope="session", autouse=True)
def unsynced() -> Iterator[None]:
    """Nothing waits for the disk: what a loss of power would leave is computed (tests/drills/power.py)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _handle: None)
        yield


@pytest.fixture(scope="module", autouse=True)
def spared_modules() -> None:
    """What was imported is looked through no more: each look of a step that lets a model go would take a second."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """What a step set for itself ends with the test."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


@pytest.fixture(autouse=True)
def own_environment() -> Iterator[None]:
    """Give back the environment that a test found: MLflow, for one, writes its address into it."""
    found = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(found)


@pytest.fixture(scope="session")
def small_files() -> dict[str, bytes]:
    """The first images of easy-VQA with their questions, named as in the package."""
    from tests.checkouts import first_images

    return first_images()


@pytest.fixture(scope="session")
def small_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of the small data set, the folder of one set. Read only."""
    from tests.checkouts import new_root, small_samples

    folder = tmp_path_factory.mktemp("data") / "shards" / "easy_vqa"
    samples = list(small_samples(new_root(tmp_path_factory.mktemp("raw") / "checkout")))
    for split in ("train", "val", "test"):
        shards.write_shards(folder, split, (sample for of, sample in samples if of == split), 16)
    return folder


@pytest.fixture(scope="session")
def smoke() -> Config:
    """The smoke profile."""
    return read_config(Path(__file__).parents[1] / "configs" / "smoke.yaml")


@pytest.fixture(scope="session")
def paper() -> Config:
    """The profile of the paper."""
    return read_config(Path(__file__).parents[1] / "configs" / "paper.yaml")


@pytest.fixture(scope="session")
def tokenizer(small_shards: Path, smoke: Config) -> PreTrainedTokenizerFast:
    """A tokenizer made as the step ``backbones`` makes it, from fewer texts. Read only."""
    from tinygptv.model.language import of_profile
    from tinygptv.pretraining.documents import Documents, describe, train_tokenizer

    settings = smoke.backbones.text
    documents = Documents(describe(shards.read_records(sorted(small_shards.glob("train-*.tar")))), settings, seed=1)
    texts = [text for task in settings.mixture for _ in range(50) for text, _ in documents.draw(task)]
    return train_tokenizer(
        texts, settings.prompt, smoke.model.text.vocab_size, of_profile(smoke.model.text).end_of_text
    )


@pytest.fixture(scope="session")
def make_model(smoke: Config, tokenizer: PreTrainedTokenizerFast) -> Callable[..., TinyGPTVForConditionalGeneration]:
    """``make_model(seed)``: a model of the smoke profile with fresh weights, in evaluation mode."""
    import torch

    from tinygptv.model import TinyGPTVForConditionalGeneration
    from tinygptv.model.profile import from_profile

    def make(seed: int = 0) -> TinyGPTVForConditionalGeneration:
        torch.manual_seed(seed)
        return TinyGPTVForConditionalGeneration(from_profile(smoke.model, tokenizer.eos_token_id)).eval()

    return make


@pytest.fixture(scope="session")
def processor(smoke: Config, tokenizer: PreTrainedTokenizerFast) -> TinyGPTVProcessor:
    """The processor of the smoke profile's last stage."""
    from tinygptv.model.processing import build_processor

    return build_processor(
        tokenizer,
        smoke.stage4.prompt,
        image_size=smoke.stage4.image_size,
        num_query_tokens=smoke.model.qformer.num_query_tokens,
        vocab_size=smoke.model.text.vocab_size,
    )


@pytest.fixture
def backbones(
    tmp_path: Path,
    make_model: Callable[..., TinyGPTVForConditionalGeneration],
    tokenizer: PreTrainedTokenizerFast,
) -> Path:
    """What the step ``backbones`` leaves, with the weights of ``make_model(5)``."""
    from tinygptv.model import weights

    folder = tmp_path / "backbones"
    folder.mkdir()
    model = make_model(seed=5)
    weights.save_weights(folder / file_names.IMAGE_ENCODER, model.image_encoder.state_dict())
    weights.save_weights(folder / file_names.LANGUAGE_MODEL, model.language_model.state_dict())
    tokenizer.save_pretrained(folder)
    return folder

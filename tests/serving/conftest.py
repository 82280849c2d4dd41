"""Two models that answer differently, made once."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.serving import helpers
from tinygptv.model.inference import VisionLanguageModel
from tinygptv.model.modeling import TinyGPTVForConditionalGeneration
from tinygptv.model.processing import TinyGPTVProcessor
from tinygptv.serving.models import Models


@pytest.fixture(scope="session")
def known(
    make_model: Callable[..., TinyGPTVForConditionalGeneration], processor: TinyGPTVProcessor
) -> dict[str, VisionLanguageModel]:
    """Read only."""
    return {name: helpers.strong_model(make_model(seed), processor, seed) for name, seed in (("one", 4), ("two", 5))}


@pytest.fixture(scope="session")
def models(known: dict[str, VisionLanguageModel], tmp_path_factory: pytest.TempPathFactory) -> Models:
    """Both of them, served. Read only."""
    return helpers.models_of(tmp_path_factory.mktemp("served"), known)


@pytest.fixture(scope="session")
def one(models: Models) -> str:
    """The address of the first."""
    return models.sources[0]

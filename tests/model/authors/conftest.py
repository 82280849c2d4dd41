"""A golden case as files, whole or changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tinygptv.config import Config, Lora
from tinygptv.model.authors.report import ImportReport
from tinygptv.model.checkpoint import import_authors
from tinygptv.model.modeling import TinyGPTVForConditionalGeneration
from tinygptv.model.processing import TinyGPTVProcessor

CASE = "mg4_stage3_lora"
"""Adapters; a base without the added norms; 224 pixels."""
WITH_NORMS = "v2_stage4_conv"
"""Adapters; a base with the added norms; 448 pixels."""

Imported = tuple[TinyGPTVForConditionalGeneration, TinyGPTVProcessor, ImportReport]


@pytest.fixture
def parts(golden_parts: Callable[[str], dict[str, dict[str, torch.Tensor]]]) -> dict[str, dict[str, torch.Tensor]]:
    """The tensors of the four files; a test may change them."""
    return golden_parts(CASE)


@pytest.fixture(scope="session")
def run_import(import_settings: Callable[[str], dict[str, Any]], write_parts: Callable[..., dict[str, Path]]):
    """``run_import(folder, parts, **changed)``: write the parts as safetensors and import them."""

    def run(folder: Path, parts: dict[str, dict[str, torch.Tensor]], **changed: Any) -> Imported:
        return import_authors(**write_parts(folder, parts), **import_settings(CASE) | changed)

    return run


@pytest.fixture(scope="session")
def imported(tmp_path_factory, golden_parts, run_import) -> Imported:
    """The case as it is. Read only."""
    return run_import(tmp_path_factory.mktemp("imported"), golden_parts(CASE))


@pytest.fixture(scope="session")
def config(imported, smoke: Config) -> Config:
    """The smoke profile with the sizes of the golden case."""
    sizes = imported[0].config
    parts = {"vision": sizes.vision_config, "qformer": sizes.qformer_config, "text": sizes.text_config}
    changes = {
        name: getattr(smoke.model, name).model_copy(
            update={
                key: getattr(part, key) for key in type(getattr(smoke.model, name)).model_fields if hasattr(part, key)
            }
        )
        for name, part in parts.items()
    }
    changes["qformer"] = changes["qformer"].model_copy(update={"num_query_tokens": sizes.num_query_tokens})
    changes |= {"projection_size": sizes.projection_size, "lora": Lora(rank=4, alpha=16, dropout=0.05)}
    return smoke.model_copy(update={"model": smoke.model.model_copy(update=changes)})

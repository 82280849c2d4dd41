"""Imported weights as the pipeline's own files: the next stage begins with the model that was imported."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.testing import assert_close

from tinygptv.config import Config, Lora
from tinygptv.config.profiles import Profile
from tinygptv.ground.errors import CheckpointError
from tinygptv.model import assembly, stage_checkpoint
from tinygptv.model.authors.folder import save_import
from tinygptv.model.authors.stage import export_stage

GOLDEN = Path(__file__).parents[2] / "golden"


@pytest.fixture(scope="module")
def folder(tmp_path_factory, imported) -> Path:
    model, processor, _ = imported
    out = tmp_path_factory.mktemp("import") / "model"
    save_import(model, processor, out)
    return out


TRAINABLE = {
    "as in the paper": {},
    "adapters alone": {"stage3": ("lora",)},
    "no more adapters": {"stage3": ("projection",)},
    "neither projection nor adapters": {"stage1": ("input_norm",), "stage2": ("lora",), "stage3": ("final_norm",)},
}


@pytest.mark.parametrize("trainable", TRAINABLE.values(), ids=TRAINABLE)
def test_the_next_stage_begins_with_the_imported_model(
    folder: Path, config: Config, imported, tmp_path: Path, trainable: dict
) -> None:
    changed = {stage: config.stage(stage).model_copy(update={"trainable": parts}) for stage, parts in trainable.items()}
    config = config.model_copy(update=changed)
    export_stage(folder, tmp_path, "stage3", Profile("golden", 7, config))
    model = assembly.assemble(config, tmp_path / "backbones", with_tower=True).eval()
    manifest = stage_checkpoint.load_stage(model, tmp_path / "stage3", "stage3", config, tmp_path / "backbones")
    model.eval()
    assert tuple(sorted(manifest.trainable)) == tuple(sorted(config.stage3.trainable))
    inputs = load_file(GOLDEN / "mg4_stage3_lora" / "inputs.safetensors")
    inputs["input_ids"] = inputs["input_ids"].masked_fill(inputs["input_ids"] == -200, model.config.image_token_id)
    pixels_BCHW = torch.randn(3, 3, 224, 224, generator=torch.Generator().manual_seed(77))
    with torch.inference_mode():
        found, expected = (m(**inputs, pixel_values=pixels_BCHW) for m in (model, imported[0]))
    assert_close(found.logits, expected.logits, rtol=0, atol=0)
    assert_close(found.loss, expected.loss, rtol=0, atol=0)


def test_nothing_is_overwritten(folder: Path, config: Config, tmp_path: Path) -> None:
    (tmp_path / "stage3").mkdir()
    with pytest.raises(CheckpointError, match=r"stage3 exists"):
        export_stage(folder, tmp_path, "stage3", Profile("golden", 7, config))
    assert [path.name for path in tmp_path.iterdir()] == ["stage3"]


@pytest.mark.parametrize(
    ("changes", "stage", "message"),
    [
        ({"projection_size": 8}, "stage3", r"of another shape: projector\.linear_1.*section `model`"),
        ({"lora": Lora(rank=8, alpha=16, dropout=0.0)}, "stage3", "rank 4 and alpha 16, stage3 .* rank 8 and alpha 16"),
        ({}, "stage1", "adapters of rank 4 and alpha 16, stage1 of the profile trains no adapters"),
    ],
)
def test_another_model_is_refused(
    folder: Path, config: Config, tmp_path: Path, changes: dict, stage: str, message: str
) -> None:
    other = config.model_copy(update={"model": config.model.model_copy(update=changes)})
    with pytest.raises(CheckpointError, match=message):
        export_stage(folder, tmp_path, stage, Profile("golden", 7, other))
    assert list(tmp_path.iterdir()) == []

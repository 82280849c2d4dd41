"""Checkpoints of stages on disk: what fits is loaded, everything else is refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from tinygptv.config import Config
from tinygptv.ground import file_names
from tinygptv.ground.errors import CheckpointError
from tinygptv.ground.names import STAGES
from tinygptv.model import assembly, stage_checkpoint, weights
from tinygptv.model.adapters import add_lora, freeze, trainable_state
from tinygptv.model.modeling import TinyGPTVForConditionalGeneration

MakeModel = Callable[..., TinyGPTVForConditionalGeneration]


@pytest.fixture
def stage2(tmp_path: Path, backbones: Path, smoke: Config) -> Path:
    """A checkpoint of stage 2 with random trained tensors."""
    folder = tmp_path / "stage2"
    folder.mkdir()
    model = assembly.assemble(smoke, backbones, with_tower=False)
    add_lora(model, smoke.model.lora)
    table = freeze(model, smoke.stage2.trainable)
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter)
    manifest: dict[str, Any] = {
        "stage": "stage2",
        "parent": {"stage": "stage1", "sha256": "0" * 64},
        "backbones": weights.backbone_digests(backbones),
        "features": "1" * 64,
        "trainable": table.trainable,
        "seed": 3,
        "config": {"runtime": {}},
        "environment": {"torch": "2"},
        "changes": [],
    }
    stage_checkpoint.write_checkpoint(folder, trainable_state(model), manifest)
    return folder


def load(stage: str, folder: Path, config: Config, backbones: Path) -> TinyGPTVForConditionalGeneration:
    model = assembly.assemble(config, backbones, with_tower=False)
    stage_checkpoint.load_stage(model, folder, stage, config, backbones)
    return model


def test_stages_form_a_chain() -> None:
    assert [stage_checkpoint.parent_of(stage) for stage in STAGES] == [None, "stage1", "stage2", "stage3"]


def test_a_checkpoint_goes_round(stage2: Path, backbones: Path, smoke: Config) -> None:
    model = load("stage2", stage2, smoke, backbones)
    stored = weights.load_weights(stage2 / file_names.TRAINED)
    state = trainable_state(model)
    assert state.keys() == stored.keys()
    assert all(torch.equal(state[name], stored[name]) for name in stored)


def without_held(folder: Path) -> None:
    """As versions wrote it that kept nothing but what the stage itself had trained."""
    content = json.loads((folder / file_names.MANIFEST).read_text())
    del content["held"]
    (folder / file_names.MANIFEST).write_text(json.dumps(content))


def test_a_checkpoint_from_before_its_manifest_said_what_it_holds(stage2: Path, backbones: Path, smoke: Config) -> None:
    without_held(stage2)
    model = load("stage2", stage2, smoke, backbones)
    stored = weights.load_weights(stage2 / file_names.TRAINED)
    assert all(torch.equal(value, stored[name]) for name, value in trainable_state(model).items())
    assert set(stage_checkpoint.read_manifest(stage2, "stage2").groups) == set(smoke.stage2.trainable)


def test_a_checkpoint_that_lost_its_projection_is_refused(stage2: Path, backbones: Path, smoke: Config) -> None:
    """The projection it was trained with is gone; a random one in its place would answer at random."""
    content = json.loads((stage2 / file_names.MANIFEST).read_text())
    stored = weights.load_weights(stage2 / file_names.TRAINED)
    adapters = {name: tensor for name, tensor in stored.items() if ".lora_" in name}
    content["trainable"] = {"lora": content["trainable"]["lora"]}
    del content["sha256"]
    stage_checkpoint.write_checkpoint(stage2, adapters, content)
    without_held(stage2)
    with pytest.raises(CheckpointError, match=r"lacks projector\.linear_1\.bias, .*; repeat stage2"):
        load("stage2", stage2, smoke, backbones)


def test_a_checkpoint_of_another_stage_is_refused(stage2: Path, backbones: Path, smoke: Config) -> None:
    with pytest.raises(CheckpointError, match="is a checkpoint of stage2, stage3 is needed"):
        load("stage3", stage2, smoke, backbones)


def test_other_backbones_are_refused(
    stage2: Path, backbones: Path, smoke: Config, tokenizer: PreTrainedTokenizerFast
) -> None:
    changed = json.loads((backbones / file_names.TOKENIZER).read_text())
    (backbones / file_names.TOKENIZER).write_text(json.dumps(changed, indent=8))
    with pytest.raises(CheckpointError, match=r"trained with another tokenizer\.json"):
        load("stage2", stage2, smoke, backbones)


def test_changed_tensors_are_refused(stage2: Path, backbones: Path, smoke: Config) -> None:
    content = bytearray((stage2 / file_names.TRAINED).read_bytes())
    content[-1] ^= 1
    (stage2 / file_names.TRAINED).write_bytes(content)
    with pytest.raises(CheckpointError, match="not the file of its manifest"):
        load("stage2", stage2, smoke, backbones)


def rewrite(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    """A checkpoint with other tensors and a digest that fits them."""
    content = json.loads((folder / file_names.MANIFEST).read_text())
    del content["sha256"]
    stage_checkpoint.write_checkpoint(folder, tensors, content)


def test_missing_unknown_and_misshapen_tensors_are_refused(stage2: Path, backbones: Path, smoke: Config) -> None:
    whole = weights.load_weights(stage2 / file_names.TRAINED)
    name = next(iter(whole))
    rewrite(stage2, {other: tensor for other, tensor in whole.items() if other != name})
    with pytest.raises(CheckpointError, match=f"lacks {name}"):
        load("stage2", stage2, smoke, backbones)
    rewrite(stage2, whole | {"language_model.extra": torch.zeros(1)})
    with pytest.raises(CheckpointError, match=r"language_model\.extra has no place"):
        load("stage2", stage2, smoke, backbones)
    rewrite(stage2, whole | {name: torch.zeros(1)})
    with pytest.raises(CheckpointError, match=f"{name} has shape"):
        load("stage2", stage2, smoke, backbones)


def test_a_manifest_of_another_version_is_refused(stage2: Path, backbones: Path, smoke: Config) -> None:
    content = json.loads((stage2 / file_names.MANIFEST).read_text())
    (stage2 / file_names.MANIFEST).write_text(json.dumps(content | {"more": 1}))
    with pytest.raises(CheckpointError, match="other keys than this version"):
        load("stage2", stage2, smoke, backbones)

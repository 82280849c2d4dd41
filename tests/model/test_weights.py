"""Weights on disk: equal tensors are equal bytes, and what is missing or damaged is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tinygptv.config import Config
from tinygptv.ground import file_names
from tinygptv.ground.errors import CheckpointError
from tinygptv.model import assembly, weights


def test_equal_tensors_are_equal_bytes(tmp_path: Path) -> None:
    one, two = torch.arange(3.0), torch.ones(2, 2)
    weights.save_weights(tmp_path / "a", {"one": one, "two": two})
    weights.save_weights(tmp_path / "b", {"two": two.T, "one": one})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("name", [file_names.IMAGE_ENCODER, file_names.LANGUAGE_MODEL, file_names.TOKENIZER])
def test_missing_backbones_are_named(backbones: Path, name: str, smoke: Config) -> None:
    (backbones / name).unlink()
    with pytest.raises(CheckpointError, match=name):
        weights.backbone_digests(backbones)
    with pytest.raises(CheckpointError, match=name):
        assembly.assemble(smoke, backbones, with_tower=True)


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    (tmp_path / "weights.safetensors").write_bytes(b"\x08" + bytes(40))
    with pytest.raises(CheckpointError, match="is damaged"):
        weights.load_weights(tmp_path / "weights.safetensors")

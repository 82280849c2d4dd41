"""Cached features: what is written is read, and damage is named."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from tinygptv.data.features import FeatureReader, write_features
from tinygptv.data.shards import write_members
from tinygptv.ground.errors import DataError


@pytest.fixture
def stored(tmp_path: Path) -> dict[str, torch.Tensor]:
    """Five images in two tars, one of them not contiguous."""
    tensors = {f"train-{i:04d}": torch.randn(4, 8) for i in range(4)} | {"train-0004": torch.randn(8, 4).T}
    names = list(tensors)
    write_features(tmp_path / "train-000000.tar", [(name, tensors[name]) for name in names[:3]])
    write_features(tmp_path / "train-000001.tar", [(name, tensors[name]) for name in names[3:]])
    return tensors


def test_features_go_round(stored: dict[str, torch.Tensor], tmp_path: Path) -> None:
    reader = FeatureReader(tmp_path)
    assert len(reader) == len(stored) == 5
    for key in reversed(stored):
        assert torch.equal(reader.read(key), stored[key])
    keys = ["train-0004", "train-0000", "train-0004"]
    assert torch.equal(reader.batch(keys), torch.stack([stored[key] for key in keys]))
    reader.close()


def test_equal_features_are_equal_bytes(stored: dict[str, torch.Tensor], tmp_path: Path) -> None:
    write_features(tmp_path / "again.tar", [(f"train-{i:04d}", stored[f"train-{i:04d}"]) for i in range(3)])
    assert (tmp_path / "again.tar").read_bytes() == (tmp_path / "train-000000.tar").read_bytes()


def test_a_missing_image_is_named(stored: dict[str, torch.Tensor], tmp_path: Path) -> None:
    reader = FeatureReader(tmp_path)
    assert "train-0000" in reader
    assert "test-0000" not in reader
    with pytest.raises(DataError, match="no features of image test-0000"):
        reader.batch(["train-0000", "test-0000"])
    reader.close()


def test_a_damaged_member_is_named(stored: dict[str, torch.Tensor], tmp_path: Path) -> None:
    path = tmp_path / "train-000000.tar"
    content = path.read_bytes()
    place = content.index(b'{"query_QD"')
    path.write_bytes(content[:place] + b"!" + content[place + 1 :])
    reader = FeatureReader(tmp_path)
    assert torch.equal(reader.read("train-0001"), stored["train-0001"])
    with pytest.raises(DataError, match=r"train-000000\.tar: member train-0000\.safetensors is damaged"):
        reader.read("train-0000")
    reader.close()


def test_a_member_with_another_tensor_is_named(tmp_path: Path) -> None:
    write_members(tmp_path / "train-000000.tar", [("a", {"safetensors": save({"other": torch.zeros(2)})})])
    reader = FeatureReader(tmp_path)
    with pytest.raises(DataError, match=r"member a\.safetensors is damaged"):
        reader.read("a")
    reader.close()


def test_a_cut_tar_and_an_empty_folder_are_refused(stored: dict[str, torch.Tensor], tmp_path: Path) -> None:
    path = tmp_path / "train-000001.tar"
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(DataError, match=r"train-000001\.tar"):
        FeatureReader(tmp_path)
    with pytest.raises(DataError, match="holds no feature shards"):
        FeatureReader(tmp_path / "none")

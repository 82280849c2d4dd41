"""Foreign files: what is read, and that what is hostile or damaged ends in one line and runs nothing."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tinygptv.ground.errors import CheckpointError
from tinygptv.model.authors import unpickle
from tinygptv.model.authors.foreign import open_tensors


class Canary:
    """A tensor's place in a pickle taken by a call."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def hostile_files(folder: Path) -> dict[str, Path]:
    """Files that no import may take; each by what it must be refused for."""
    contents = {
        "holds code or objects": {"model": {"good": torch.ones(2), "bad": Canary(folder / "canary")}},
        "claims 4,000,000,000,000 bytes": {"wide": torch.ones(1).expand(10**12)},
    }
    files = {}
    for number, (reason, content) in enumerate(contents.items()):
        files[reason] = folder / f"{number}.pth"
        torch.save(content, files[reason])
    good = folder / "good.pth"
    torch.save({"good": torch.zeros(50_000)}, good)
    files["is damaged, or no file of tensors"] = folder / "cut.pth"
    files["is damaged, or no file of tensors"].write_bytes(good.read_bytes()[:100_000])
    return files


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as raised:
        open_tensors(path)
    return str(raised.value)


@pytest.mark.drill(20, "pickles that run code, sparse and damaged ones: refused, canary untouched")
def test_hostile_and_damaged_pickles_are_refused_in_one_line_and_run_nothing(tmp_path: Path) -> None:
    files = hostile_files(tmp_path)
    with ThreadPoolExecutor(4) as pool:
        lines = dict(zip(files, pool.map(refusal, files.values()), strict=True))
    for reason, line in lines.items():
        assert reason in line
        assert str(files[reason]) in line
        assert "\n" not in line
    assert not (tmp_path / "canary").exists()


@pytest.mark.drill(20, "pickles that run code, sparse and damaged ones: refused, canary untouched")
def test_only_plain_tensors_by_name_pass() -> None:
    with pytest.raises(CheckpointError, match="holds no tensor under epoch but a value of type int"):
        unpickle.check_tensor("epoch", 3)
    with pytest.raises(CheckpointError, match="a tensor of an unusual kind under sparse"):
        unpickle.check_tensor("sparse", torch.eye(4).to_sparse())
    with pytest.raises(CheckpointError, match="names a tensor by a value of type int"):
        unpickle.check_name(1)


def test_the_canary_works(tmp_path: Path) -> None:
    """Else the test above would pass with any reader."""
    torch.save({"bad": Canary(tmp_path / "canary")}, tmp_path / "bad.pth")
    torch.load(tmp_path / "bad.pth", weights_only=False)
    assert (tmp_path / "canary").exists()


def test_a_pickle_gives_its_tensors_and_names_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "temporary").mkdir()
    values = torch.arange(12.0).view(3, 4)
    saved = {
        "turned": values.T,
        "row": values[1],
        "same": values,
        "half": values.half(),
        "parameter": torch.nn.Parameter(values + 1),
    }
    torch.save({"model": saved, "optimizer": {"state": {}}, "epoch": 3}, tmp_path / "a.pth")
    tensors = open_tensors(tmp_path / "a.pth")
    assert list((tmp_path / "temporary").iterdir()) == []
    assert tensors.others == ("optimizer", "epoch")
    assert tensors.keys() == saved.keys()
    for name, tensor in saved.items():
        assert torch.equal(tensors[name], tensor), name
        assert tensors[name].dtype == tensor.dtype


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("kill -SEGV $$", "the process that read it was ended by signal 11"),
        ("exit 3", "the process that read it ended with 3"),
        ("printf 'first\\n\\033[31mholds\\tnothing' >&2; exit 2", r"holds\?nothing"),
    ],
)
def test_a_dead_reader_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, message: str) -> None:
    (tmp_path / "reader").write_text(f"#!/bin/bash\n{program}\n")
    (tmp_path / "reader").chmod(0o755)
    (tmp_path / "a.pth").write_bytes(b"PK")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "reader"))
    with pytest.raises(CheckpointError, match=message) as raised:
        open_tensors(tmp_path / "a.pth")
    assert str(raised.value).isprintable()


def test_the_reader_knows_no_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "reader").write_text("#!/bin/bash\nenv | tr '\\n' ' ' >&2\nexit 2\n")
    (tmp_path / "reader").chmod(0o755)
    (tmp_path / "a.pth").write_bytes(b"PK")
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "reader"))
    with pytest.raises(CheckpointError, match="PATH=") as raised:
        open_tensors(tmp_path / "a.pth")
    assert "secret" not in str(raised.value)


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    """A Hugging Face folder of two shards."""
    folder = tmp_path / "sharded"
    folder.mkdir()
    weights = {"one.safetensors": {"a": torch.ones(2)}, "two.safetensors": {"b": torch.zeros(3)}}
    for name, tensors in weights.items():
        save_file(tensors, folder / name)
    table = {tensor: name for name, tensors in weights.items() for tensor in tensors}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": table}))
    return folder


def test_of_a_folder_only_what_is_asked_for_is_opened(sharded: Path) -> None:
    (sharded / "two.safetensors").unlink()
    tensors = open_tensors(sharded)
    assert sorted(tensors) == ["a", "b"]
    assert torch.equal(tensors["a"], torch.ones(2))
    with pytest.raises(CheckpointError, match=r"two\.safetensors does not exist"):
        tensors["b"]


def test_an_index_that_lies_is_refused(sharded: Path) -> None:
    index = sharded / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"b": "one.safetensors"}}))
    with pytest.raises(CheckpointError, match=r"one\.safetensors lacks b"):
        open_tensors(sharded)["b"]
    for content in ([], {"weight_map": {"a": 1}}, {}):
        index.write_text(json.dumps(content))
        with pytest.raises(CheckpointError, match="no table `weight_map`"):
            open_tensors(sharded)
    index.write_text(json.dumps({"weight_map": {"a": "../secret.safetensors"}}))
    with pytest.raises(CheckpointError, match="which is not a file of its folder"):
        open_tensors(sharded)


def test_a_folder_may_hold_one_file(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2)}, tmp_path / "model.safetensors")
    assert list(open_tensors(tmp_path)) == ["a"]


def test_what_cannot_be_opened_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "b.safetensors").write_bytes(b"\x08" + bytes(40))
    (tmp_path / "empty").mkdir()
    for name, message in (
        ("nix.pth", "does not exist"),
        ("a.txt", "is no file of weights"),
        ("b.safetensors", "is damaged"),
        ("empty", "holds no weights"),
    ):
        with pytest.raises(CheckpointError, match=message) as raised:
            open_tensors(tmp_path / name)
        assert name in str(raised.value)


def test_tensors_are_mapped_and_outlive_their_file(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"a": torch.arange(1000.0)}, path)
    tensor = open_tensors(path)["a"]
    mapped = [line for line in Path("/proc/self/maps").read_text().splitlines() if str(path) in line]
    assert mapped
    path.unlink()
    assert torch.equal(tensor, torch.arange(1000.0))

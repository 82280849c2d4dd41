"""Every folder that a command writes: opened and asked in a fresh process, saved again, and the same from there."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import GenerationConfig

from tests.serving.helpers import TOKENS, strong_model
from tinygptv.cli import main
from tinygptv.config.profiles import Profile
from tinygptv.ground import digests
from tinygptv.ground.errors import CheckpointError, DataError
from tinygptv.ground.files import read_json
from tinygptv.model.adapters import add_lora
from tinygptv.model.authors import open_tensors
from tinygptv.model.authors.folder import save_import
from tinygptv.model.authors.stage import export_stage
from tinygptv.model.folders import longest_answer
from tinygptv.model.int8 import save_quantized

ROOT = Path(__file__).parents[3]


Said = dict[str, Any]


def ask(*rounds: tuple[dict[str, Path], Path]) -> list[Said]:
    """What ``opened`` says of the folders of each round, one after the other; each is saved below the round's path."""
    arguments = [str(path) for folders, saved in rounds for name in folders for path in (folders[name], saved / name)]
    command = [sys.executable, "-m", "tests.model.authors.opened", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    found = iter(json.loads(done.stdout.splitlines()[-1]))
    return [{name: next(found) for name in folders} for folders, _ in rounds]


def export(source: Path, out: Path, form: str) -> Path:
    assert main(["export-checkpoint", str(source), str(out), "--form", form]) == 0
    return out


@pytest.fixture(scope="module")
def folders(tmp_path_factory, imported, make_model, processor, config) -> dict[str, Path]:
    """By the command that wrote it. Read only."""
    at = tmp_path_factory.mktemp("written")
    made = {"import-checkpoint": at / "import"}
    save_import(imported[0], imported[1], made["import-checkpoint"])
    for form in ("folder", "8bit", "authors"):
        made[f"export-checkpoint, {form}"] = export(made["import-checkpoint"], at / form, form)
    export_stage(made["import-checkpoint"], at, "stage3", Profile("golden", 7, config))
    made |= {"import-stage, backbones": at / "backbones", "import-stage, stage3": at / "stage3"}
    small = strong_model(make_model(seed=11), processor, seed=4)
    save_quantized(small, at / "model", outlier_threshold=0.0, max_new_tokens=TOKENS)
    made["quantize"] = at / "model"
    for name, limit in (("none", None), ("short", TOKENS), ("beyond the positions", 300)):
        small.model.generation_config = GenerationConfig(max_new_tokens=limit)
        small.model.save_pretrained(at / name)
        small.processor.save_pretrained(at / name)
        for form in ("folder", "8bit"):
            made[f"small, {name}, {form}"] = export(at / name, at / f"{name} {form}", form)
    made["exported twice"] = export(made["small, none, folder"], at / "twice", "8bit")
    return made


def test_they_answer_also_when_they_are_saved_again(folders: dict[str, Path], tmp_path: Path) -> None:
    words = {
        "export-checkpoint, authors": "import-checkpoint",
        "import-stage, backbones": "backbones",
        "import-stage, stage3": "a stage's checkpoint",
    }
    saved = {name: tmp_path / "saved" / name for name in folders.keys() - words.keys()}
    found, again = ask((folders, tmp_path / "saved"), (saved, tmp_path / "twice"))
    refused = {name: line for name, line in found.items() if isinstance(line, str)}
    assert refused.keys() == words.keys(), refused
    for name, line in refused.items():
        assert words[name] in line
        assert "\n" not in line
    assert len({str(said[1]) for name, said in found.items() if name not in refused}) > 3
    assert again == {name: found[name] for name in again}
    assert all(digests.check(folder) for folder in saved.values())


def test_all_are_sealed_but_for_the_pipelines_own(folders: dict[str, Path]) -> None:
    unsealed = {name for name, folder in folders.items() if not digests.check(folder)}
    assert unsealed == {"import-stage, backbones", "import-stage, stage3"}, "these have manifests"


def test_the_longest_answer_is_the_sources_as_far_as_it_has_room(folders: dict[str, Path]) -> None:
    limits = {
        name: read_json(folder / "generation_config.json")["max_new_tokens"]
        for name, folder in folders.items()
        if (folder / "generation_config.json").is_file()
    }
    assert limits["import-checkpoint"] == limits["export-checkpoint, 8bit"] == 300
    assert limits["quantize"] == limits["small, short, folder"] == limits["small, short, 8bit"] == TOKENS
    (most,) = {
        limits[f"small, {name}, {form}"] for name in ("none", "beyond the positions") for form in ("folder", "8bit")
    }
    assert TOKENS < most < 128 == 256 // 2
    assert limits["exported twice"] == most


def test_a_model_without_room_is_not_exported(processor: Any) -> None:
    with pytest.raises(CheckpointError, match="has no room"):
        longest_answer(processor, 10, 5)


def test_a_model_with_adapters_in_place_says_why_it_is_not_saved(
    make_model: Callable[..., Any], smoke: Any, tmp_path: Path
) -> None:
    model = make_model()
    add_lora(model, smoke.model.lora)
    with pytest.raises(CheckpointError, match="merge the adapters first"):
        model.save_pretrained(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_may_be_saved_over_itself(folders: dict[str, Path], tmp_path: Path) -> None:
    saved = tmp_path / "saved"
    names = ("quantize", "export-checkpoint, 8bit", "small, short, folder")
    own = {name: saved / name for name in names}
    first, over, last = ask(({name: folders[name] for name in names}, saved), (own, saved), (own, tmp_path / "last"))
    assert last == over == first


def test_files_of_the_authors_form_are_compared_when_they_are_imported(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    copied = tmp_path / "authors"
    copied.mkdir()
    for path in folders["export-checkpoint, authors"].iterdir():
        (copied / path.name).write_bytes(path.read_bytes())
    content = bytearray((copied / "phi.safetensors").read_bytes())
    content[-1] ^= 1
    (copied / "phi.safetensors").write_bytes(content)
    open_tensors(copied / "vision.safetensors")
    with pytest.raises(DataError, match=r"phi\.safetensors is not what was written"):
        open_tensors(copied / "phi.safetensors")

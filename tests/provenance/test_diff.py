"""``tinygptv diff`` on folders, steps and MLflow runs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tinygptv.cli import main
from tinygptv.provenance import diff

MANIFEST = {
    "stage": "stage2",
    "parent": {"stage": "stage1", "sha256": "a" * 64},
    "backbones": {"tokenizer.json": "b" * 64},
    "config": {"stage2": {"learning_rate": 0.003, "epochs": 1}},
    "environment": {"torch": "2.13.0+cpu", "cores": 2},
}


@pytest.fixture
def stage(tmp_path) -> Callable[..., Path]:
    """``stage(name, ...)``: a folder as a training step leaves it."""

    def make(name: str, *, manifest: dict | None = None, steps: int = 20, batch: int = 99, loss: int = 99) -> Path:
        folder = tmp_path / name
        folder.mkdir(parents=True)
        trace = [
            {
                "step": step,
                "loss": 1 / step + (0.5 if step >= loss else 0),
                "lr": 0.1,
                "grad_norm": 2.0 if step > loss else 1.0,
                "batch": f"{step + (100 if step >= batch else 0):016x}",
            }
            for step in range(1, steps + 1)
        ]
        save_file({"a": torch.ones(4), "b": torch.full((2, 2), float(loss))}, folder / "trained.safetensors")
        (folder / "manifest.json").write_text(json.dumps(MANIFEST | (manifest or {})))
        points = [{key: value for key, value in point.items() if key != "batch"} for point in (trace[9], trace[-1])]
        (folder / "history.json").write_text(json.dumps(points))
        (folder / "trace.jsonl").write_text("".join(f"{json.dumps(point)}\n" for point in trace))
        return folder

    return make


@pytest.fixture
def checkout(tmp_path, monkeypatch) -> Path:
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_files_are_those_of_a_checkpoint():
    assert diff.FILES == ("manifest.json", "trace.jsonl", "history.json", "trained.safetensors")


def test_equal_runs(stage, checkout, capsys):
    stage("data/tiny/stage2")
    stage("copy")
    assert main(["diff", "stage2", "copy", "--profile", "tiny"]) == 0
    assert capsys.readouterr().out == "A  stage2\nB  copy\n\nequal\n"


def test_counts_of_cuts_are_compared_where_both_have_them(stage):
    """A run of an earlier version, or one fetched from MLflow, has none."""
    one, two = stage("one"), stage("two")
    (one / "cuts.json").write_text('{"vqa": {"answers": 3}}')
    assert diff.compare(one, two) == {}
    (two / "cuts.json").write_text('{"vqa": {"answers": 4}}')
    assert list(diff.compare(one, two)) == ["files"]


def test_different_runs_are_told_apart_in_the_order_in_which_it_happened(stage, checkout, capsys):
    changed = {
        "parent": {"stage": "stage1", "sha256": "c" * 64},
        "config": {"stage2": {"learning_rate": 0.004}},
        "environment": {"torch": "2.14.0", "cores": 2},
    }
    stage("one")
    stage("two", manifest=changed, batch=7, loss=9)
    assert main(["diff", "one", "two"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[:4] == ["A  one", "B  two", "", "manifest"]
    assert [line.split() for line in lines[4:9]] == [
        ["key", "A", "B"],
        ["config.stage2.epochs", "1", "missing"],
        ["config.stage2.learning_rate", "0.003", "0.004"],
        ["environment.torch", '"2.13.0+cpu"', '"2.14.0"'],
        ["parent.sha256", f'"{"a" * 64}"', f'"{"c" * 64}"'],
    ]
    assert lines[9:] == [
        "",
        "training",
        f'  batch: first differs at step 7: "{7:016x}" (A), "{107:016x}" (B)',
        f"  loss: first differs at step 9: {1 / 9} (A), {1 / 9 + 0.5} (B)",
        "  grad norm: first differs at step 10: 1.0 (A), 2.0 (B)",
        "",
        "weights",
        "  tensor b (F32 [2, 2]): 4 of 4 values differ, first at [0, 0]: 99 (A), 9 (B); largest difference 90",
    ]


def test_a_run_that_is_shorter_and_one_without_a_trace(stage):
    one, two = stage("one"), stage("two", steps=15)
    assert diff.compare(one, two)["training"][0] == (
        f'batch: first differs at step 16: "{16:016x}" (A), no such step (B)'
    )
    (two / "trace.jsonl").unlink()
    found = diff.compare(one, two)
    assert found["training"][0] == f"loss: first differs at step 15: no such step (A), {1 / 15} (B)"
    assert found["other files"] == ["trace.jsonl: a file (A), missing (B)"]


def test_damaged_files_are_differences(stage):
    one, two = stage("one"), stage("two")
    for name in ("manifest.json", "trace.jsonl", "trained.safetensors", "history.json"):
        content = (two / name).read_bytes()
        (two / name).write_bytes(content[: len(content) // 2])
    found = diff.compare(one, two)
    assert set(found) == {"weights", "other files"}
    assert found["weights"][0].startswith("it cannot be read as safetensors (B): ")
    told = {line.split(":")[0]: line for line in found["other files"]}
    assert set(told) == {"manifest.json", "trace.jsonl", "history.json"}
    assert "is not valid JSON (B)" in told["manifest.json"] and "torn (B)" in told["trace.jsonl"]


def test_steps_that_train_nothing_have_only_files(stage, tmp_path):
    for name, text in (("one", "1"), ("two", "2")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "summary.json").write_text(text)
    assert diff.compare(tmp_path / "one", tmp_path / "two") == {"files": ["summary.json: 1 (A), 2 (B)"]}


def test_an_mlflow_run_is_downloaded(stage, checkout, capsys, monkeypatch):
    stage("one")
    asked = []

    def download(root: Path, run: str, names: tuple[str, ...], target: Path) -> Path:
        asked.append((root, run, names))
        return Path(shutil.copytree(checkout / "one", target))

    monkeypatch.setattr("tinygptv.tracking.artifacts.download_artifacts", download)
    assert main(["diff", "0123456789abcdef" * 2, "one"]) == 0
    names = ("manifest.json", "trace.jsonl", "history.json", "trained.safetensors")
    assert asked == [(checkout, "0123456789abcdef" * 2, names)]


@pytest.mark.parametrize("given", ["nix", "stage3", "dvc.yaml"])
def test_something_else_is_a_user_error(checkout, given, capsys):
    assert main(["diff", given, ".", "--profile", "tiny"]) == 2
    assert capsys.readouterr().err.startswith(f"tinygptv: {given} is no folder")

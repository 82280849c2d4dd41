"""Drill 30: DVC's locks left behind or torn, objects of its cache flipped. What DVC does with them is measured here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.drills.projects import dvc, record, with_dvc
from tinygptv.doctor import Finding, locks, objects
from tinygptv.ground.dvc import dvc_md5

GRAPH = """
stages:
  first: {cmd: mkdir -p data/first && echo one > data/first/x && echo two > data/first/y, outs: [data/first]}
  second: {cmd: mkdir -p data/second && cat data/first/x > data/second/z, deps: [data/first], outs: [data/second]}
"""
STEPS = ("download", "shards", "backbones", "features", "stage1")


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """Two stages that have run."""
    root = tmp_path / "project"
    root.mkdir()
    (root / "dvc.yaml").write_text(GRAPH)
    with_dvc(root, tmp_path, monkeypatch, code=())
    dvc(root, "repro", "-q")
    return root


def mend(root: Path, found: Finding) -> None:
    """Do what the doctor says, as a person would: in a shell, with dvc on the PATH."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(["sh", "-ec", found.fix], cwd=root, env={**os.environ, "PATH": path}, check=True)


def flip(path: Path) -> None:
    """One bit, in place; DVC's objects are read-only, which does not stop a disk."""
    mode = path.stat().st_mode
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    path.chmod(mode)


def object_of(root: Path, md5: str) -> Path:
    return root / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:]


def damage(root: Path, how: str) -> None:
    folder = root / ".dvc" / "tmp"
    entry = {str(root / "data" / "first"): {"pid": os.getpid(), "cmd": "dvc repro"}}
    content = json.dumps({"write": entry})
    if how == "number of another program":
        (folder / "rwlock").write_text(content)
    elif how in ("lock", "rwlock.lock"):
        (folder / how).unlink(missing_ok=True)
        (folder / how).mkdir()
    else:
        (folder / "rwlock").write_text({"empty": "", "torn": content[:-9], "other form": "[]"}[how])


@pytest.mark.drill(30, "rwlock and locks damaged: DVC refuses, the doctor's one command mends it")
@pytest.mark.parametrize(
    "how",
    [
        "torn",
        *(pytest.param(how, marks=pytest.mark.drills) for how in ("empty", "other form", "number of another program")),
        *(pytest.param(how, marks=pytest.mark.drills) for how in ("lock", "rwlock.lock")),
    ],
)
def test_a_lock_that_keeps_dvc_from_working(project, how):
    damage(project, how)
    dvc(project, "repro", code=255)
    (check,) = locks.dvc_locks(project)
    assert check.level == "problem"
    mend(project, check)
    dvc(project, "repro")
    assert [check.level for check in locks.dvc_locks(project)] == ["ok"]


@pytest.mark.drills
@pytest.mark.drill(30, "locks of a killed DVC, and strange contents: DVC goes on by itself", trials=5)
def test_a_lock_that_only_looks_stale(project):
    folder = project / ".dvc" / "tmp"
    with subprocess.Popen(["true"]) as ended:
        pass
    for name in ("lock", "rwlock.lock"):
        for content in (f"{ended.pid}\n", "garbage"):
            (folder / name).write_text(content)
            dvc(project, "repro")
    entry = {str(project / "data" / "first"): {"pid": ended.pid, "cmd": "dvc repro"}}
    (folder / "rwlock").write_text(json.dumps({"write": entry}))
    assert [check.level for check in locks.dvc_locks(project)] == ["warning"]
    dvc(project, "repro")
    assert [check.level for check in locks.dvc_locks(project)] == ["ok"]


@pytest.mark.drills
@pytest.mark.drill(30, "a flipped object that DVC hands out without a word: found and mended")
@pytest.mark.parametrize("which", ["in the cache", "checked out", "pulled"])
def test_dvc_does_not_notice_a_flipped_object_and_the_doctor_does(project, tmp_path, which):
    whole = dvc_md5(project / "data" / "first")
    flipped = object_of(project, dvc_md5(project / "data" / "first" / "x"))
    if which == "pulled":
        dvc(project, "remote", "add", "-q", "-d", "store", str(tmp_path / "store"))
        dvc(project, "push", "-q")
        far = tmp_path / "store" / flipped.relative_to(project / ".dvc" / "cache")
        flip(far)
        flipped.unlink()
    else:
        flip(flipped)
    if which != "in the cache":
        (project / "data" / "first" / "x").unlink()
        dvc(project, "pull" if which == "pulled" else "checkout")
        assert (project / "data" / "first" / "x").read_text() != "one\n"
    assert "up to date" in dvc(project, "status")
    (check,) = objects.cache(project, deep=False)
    assert check.level == "problem"
    assert str(flipped) in check.finding
    if which == "pulled":  # the remote would only give it again: whoever keeps it has to mend it
        assert check.fix.endswith("dvc pull first")
        far.unlink()
        project.joinpath(".dvc", "config").write_text("")
        (check,) = objects.cache(project, deep=False)
    mend(project, check)
    assert [check.level for check in objects.cache(project, deep=True)] == ["ok", "ok"]
    assert dvc_md5(project / "data" / "first") == whole
    assert flipped.is_file()


@pytest.mark.drill(30, "a step that DVC calls with a damaged input refuses it", trials=3)
def test_a_step_refuses_a_damaged_input(checkout, refused, run, monkeypatch):
    record(checkout.root, *STEPS[:4])
    monkeypatch.setenv("DVC_STAGE", "stage1")
    files = {
        "shards": checkout.data / "shards" / "views" / "stage1.json",
        "features": checkout.data / "features" / "views" / "stage1.json",
        "backbones": checkout.data / "backbones" / "text_loss.json",  # not even a file that the stage reads
    }
    for name, path in files.items():
        content = path.read_bytes()
        flip(path)
        refused(checkout, "stage1", str(checkout.data / name), "tinygptv doctor --deep")
        path.write_bytes(content)
    flip(files["backbones"])
    monkeypatch.delenv("DVC_STAGE")
    assert run(checkout, "stage1") == 0  # by hand, what lies there was made by hand


@pytest.mark.drills
@pytest.mark.drill(30, "a real stage behind a flipped object: refused, mended by the doctor's command, same bytes")
@pytest.mark.parametrize("name", ["shards/easy_vqa/train.arrow", "features/32/easy_vqa/train-000000.safetensors"])
def test_a_flipped_object_never_reaches_a_real_stage(checkout, with_stage1, tmp_path, monkeypatch, name):
    """One that its view names and no step compares as a whole: who reads the block does."""
    root = with_dvc(checkout.root, tmp_path, monkeypatch)
    dvc(root, "commit", "-q", "-f", *STEPS)
    path = checkout.data / name
    flip(object_of(root, dvc_md5(path)))
    path.unlink()
    dvc(root, "checkout", name.partition("/")[0])
    said = dvc(root, "repro", "-s", "-f", "stage1", code=255)
    assert f"stage1: {path}" in said and "damaged" in said
    assert "exited with 2" in said
    assert not list(checkout.data.glob("stage1/*"))
    (check,) = (check for check in objects.cache(root, deep=False) if check.level == "problem")
    mend(root, check)
    dvc(root, "repro", "-s", "-f", "stage1")
    assert checkout.outputs() == with_stage1.outputs()

"""What ``docs/disk.md`` says of ``dvc gc``: which command keeps the outputs of a worktree."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.in_process import dvc

ROOT = Path(__file__).parents[1]
GRAPH = """
stages:
  make:
    cmd: mkdir -p data/${profile} && echo ${profile} > data/${profile}/file
    params: [profile]
    outs: ["data/${profile}"]
"""


def run(folder, *command):
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """Two profiles: one of the checkout, committed, and one of a worktree that shares the cache."""
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    root, tree = tmp_path / "root", tmp_path / "root" / ".state" / "worktrees" / "other"
    root.mkdir()
    run(root, "git", "init", "-q")
    dvc(root, "init", "-q")
    (root / "dvc.yaml").write_text(GRAPH)
    (root / "params.yaml").write_text("profile: tiny\n")
    (root / ".gitignore").write_text("/data/\n/.state/\n")
    dvc(root, "repro")
    run(root, "git", "add", "-A")
    run(root, "git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "x")
    run(root, "git", "worktree", "add", "-q", "--detach", str(tree))
    dvc(tree, "config", "--local", "cache.dir", str(root / ".dvc" / "cache"))
    (tree / "params.yaml").write_text("profile: other\n")
    dvc(tree, "repro")
    return root


def contents(root):
    return {
        path.read_text()
        for path in (root / ".dvc/cache/files/md5").rglob("*")
        if path.suffix != ".dir"
        if path.is_file()
    }


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        (("-w",), {"tiny\n"}),
        (("--all-commits",), {"tiny\n"}),
        (("--all-commits", "--all-experiments", "-p", ".state/worktrees/other"), {"tiny\n", "other\n"}),
    ],
)
def test_what_gc_keeps(checkout, options, kept):
    assert contents(checkout) == {"tiny\n", "other\n"}
    dvc(checkout, "gc", "-f", *options)
    assert contents(checkout) == kept

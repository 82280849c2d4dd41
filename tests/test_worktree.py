from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tinygptv import worktree
from tinygptv.errors import UserError


@pytest.fixture
def git() -> Callable[..., str]:
    """Call git in a folder."""

    def call(folder: Path, *arguments: str) -> str:
        command = ["git", "-c", "user.name=t", "-c", "user.email=t@t", *arguments]
        return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout

    return call


@pytest.fixture
def project(tmp_path: Path, git: Callable[..., str]) -> Path:
    """A commit with two profiles, in a folder that DVC knows."""
    files = {
        "params.yaml": "# the switch\nprofile: tiny\nseed: 7\n",
        "configs/tiny.yaml": "size: 1\n",
        "configs/other.yaml": "size: 2\n",
        "src/a.py": "one = 1\n",
        ".dvc/config": "[core]\n    analytics = false\n",
        ".gitignore": "/.state/\n",
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-q", "-m", "start")
    return tmp_path


def test_a_worktree_has_the_profile_and_the_shared_cache_and_follows_the_last_commit(project, git):
    folder = worktree.prepare(project, "other")
    assert folder == project / ".state" / "worktrees" / "other"
    assert (folder / "params.yaml").read_text() == "# the switch\nprofile: other\nseed: 7\n"
    assert f"dir = {project / '.dvc' / 'cache'}\n" in (folder / ".dvc" / "config.local").read_text()
    assert "profile: tiny" in (project / "params.yaml").read_text()

    (folder / "dvc.lock").write_text("kept: true\n")
    worktree.prepare(project, "other")  # nothing was committed: what the worktree has stays
    assert (folder / "dvc.lock").read_text() == "kept: true\n"

    (project / "configs" / "other.yaml").write_text("size: 3\n")
    assert worktree.changed_files(project) == ["configs/other.yaml"]
    assert (worktree.prepare(project, "other") / "configs" / "other.yaml").read_text() == "size: 2\n"
    git(project, "commit", "-q", "-a", "-m", "three")
    assert worktree.changed_files(project) == []
    assert (worktree.prepare(project, "other") / "configs" / "other.yaml").read_text() == "size: 3\n"
    assert (folder / "params.yaml").read_text() == "# the switch\nprofile: other\nseed: 7\n"


def test_scheduled_runs_have_a_worktree_of_their_own(project):
    folder = worktree.prepare(project, "tiny", nightly=True)
    assert folder == project / ".state" / "worktrees" / "nightly-tiny"
    assert "profile: tiny" in (folder / "params.yaml").read_text()
    with pytest.raises(UserError, match="belongs to `tinygptv verify`"):
        worktree.prepare(project, "verify")


def test_a_cache_elsewhere_is_shared_too(project):
    (project / ".dvc" / "config.local").write_text("[cache]\n    dir = /somewhere/else\n")
    assert worktree.cache_folder(project) == Path("/somewhere/else")


def test_a_scratch_worktree_is_the_last_commit_and_leaves_nothing(project, git):
    (project / "src" / "a.py").write_text("two = 2\n")
    folder = worktree.add_scratch(project, project / ".dvc" / "cache")
    assert folder == project / ".state" / "worktrees" / "verify"
    assert (folder / "src" / "a.py").read_text() == "one = 1\n"
    (folder / "left").write_text("by a killed process")
    assert not (worktree.add_scratch(project, project / ".dvc" / "cache") / "left").exists()
    worktree.remove_scratch(project)
    worktree.remove_scratch(project)
    assert not folder.exists()
    assert git(project, "worktree", "list").count("\n") == 1


def test_changed_files_below_a_path_may_be_unknown_to_git(project):
    (project / "src" / "a.py").write_text("two = 2\n")
    (project / "src" / "an odd näme.py").touch()
    (project / "README.md").touch()
    assert worktree.changed_files(project) == ["src/a.py"]
    assert sorted(worktree.changed_files(project, "src", "nowhere")) == ["src/a.py", "src/an odd näme.py"]


def test_a_profile_that_is_not_committed_is_refused(project):
    (project / "configs" / "new.yaml").write_text("size: 9\n")
    with pytest.raises(UserError, match=r"configs/new\.yaml is not part of the last commit"):
        worktree.prepare(project, "new")
    with pytest.raises(UserError, match="belongs to `tinygptv verify`"):
        worktree.prepare(project, "verify")


def test_a_repository_without_a_commit_is_refused(tmp_path):
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    with pytest.raises(UserError, match="commit"):
        worktree.prepare(tmp_path, "other")

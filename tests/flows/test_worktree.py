from __future__ import annotations

import subprocess

import pytest

from flows import worktree
from tinygptv.errors import UserError


def test_a_worktree_has_the_profile_and_the_shared_cache_and_follows_the_last_commit(project, git):
    folder = worktree.prepare(project, "other")
    assert folder == project / ".state" / "worktrees" / "other"
    assert (folder / "params.yaml").read_text() == "# the switch\nprofile: other\nseed: 7\n"
    assert str(project / ".dvc" / "cache") in (folder / ".dvc" / "config.local").read_text()
    assert "profile: tiny" in (project / "params.yaml").read_text()

    (folder / "dvc.lock").write_text("kept: true\n")
    worktree.prepare(project, "other")  # nothing was committed: what the worktree has stays
    assert (folder / "dvc.lock").read_text() == "kept: true\n"

    (project / "configs" / "other.yaml").write_text("size: 3\n")
    assert worktree.changed_files(project) == 1
    assert (worktree.prepare(project, "other") / "configs" / "other.yaml").read_text() == "size: 2\n"
    git(project, "commit", "-q", "-a", "-m", "three")
    assert worktree.changed_files(project) == 0
    assert (worktree.prepare(project, "other") / "configs" / "other.yaml").read_text() == "size: 3\n"
    assert (folder / "params.yaml").read_text() == "# the switch\nprofile: other\nseed: 7\n"


def test_a_profile_that_is_not_committed_is_refused(project):
    (project / "configs" / "new.yaml").write_text("size: 9\n")
    with pytest.raises(UserError, match=r"configs/new\.yaml is not part of the last commit"):
        worktree.prepare(project, "new")


def test_a_repository_without_a_commit_is_refused(tmp_path):
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    with pytest.raises(UserError, match="commit"):
        worktree.prepare(tmp_path, "other")

"""Git worktrees below ``.state/worktrees``: steps run in them without a change to the user's files.

A profile other than that of ``params.yaml`` keeps its own, ``.state/worktrees/<profile>``, and so do scheduled runs,
``.state/worktrees/nightly-<profile>``. A verification takes one that is gone afterwards. Each is a checkout of the last
commit, shares DVC's cache with the main checkout and runs its own code.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from tinygptv.errors import UserError, from_os_error
from tinygptv.files import write_text

SCRATCH = "verify"


def folder_of(root: Path, profile: str, *, nightly: bool = False) -> Path:
    """Where a profile's worktree lies: its own, or that of scheduled runs."""
    return root / ".state" / "worktrees" / (f"nightly-{profile}" if nightly else profile)


def prepare(root: Path, profile: str, *, nightly: bool = False) -> Path:
    """Bring the profile's worktree to the last commit and return it.

    Args:
        root: the main checkout.
        profile: what its ``params.yaml`` names then.
        nightly: that of scheduled runs.

    Raises:
        UserError: no git, no commit, or the commit does not have the profile.
    """
    folder = folder_of(root, profile, nightly=nightly)
    if folder == _scratch_folder(root):
        raise UserError(f"the worktree `{SCRATCH}` belongs to `tinygptv verify`; give the profile another name")
    commit = last_commit(root)
    if not (folder / ".git").exists():
        _add(root, folder, commit)
    elif last_commit(folder) != commit:
        _git(folder, "checkout", "--quiet", "--force", "--detach", commit)
    config = f"configs/{profile}.yaml"
    if not (folder / config).is_file():
        raise UserError(f"{config} is not part of the last commit; commit it, or set `profile` in params.yaml")
    set_profile(folder / "params.yaml", profile)
    _share_cache(folder, cache_folder(root))
    return folder


def add_scratch(root: Path, cache: Path) -> Path:
    """A fresh worktree of the last commit with this cache; whoever asks for it removes it with ``remove_scratch``.

    Raises:
        UserError: no git, no commit, or a former one cannot be removed.
    """
    commit = last_commit(root)
    remove_scratch(root)  # left by a process that was killed
    folder = _scratch_folder(root)
    _add(root, folder, commit)
    _share_cache(folder, cache)
    return folder


def remove_scratch(root: Path) -> None:
    """Remove the worktree of ``add_scratch``, finished or not.

    Raises:
        UserError: a file in it cannot be removed.
    """
    folder = _scratch_folder(root)
    if folder.exists():
        try:
            shutil.rmtree(folder)
        except OSError as error:
            raise from_os_error(error, f"removing {folder}") from None
    _git(root, "worktree", "prune")


def last_commit(folder: Path) -> str:
    """The commit that is checked out.

    Raises:
        UserError: no git, or no commit.
    """
    return _git(folder, "rev-parse", "--verify", "--quiet", "HEAD", why="a worktree needs a commit; commit first")


def changed_files(root: Path, *paths: str) -> list[str]:
    """What differs from the last commit.

    Args:
        root: the checkout.
        paths: files and folders to look at, files that git does not know included; without any, all tracked files.
    """
    where = ["--untracked-files=all", "--", *paths] if paths else ["--untracked-files=no"]
    # -z: no quotes around odd names; a renamed file's former name is an entry of its own, without a state in front
    entries = _git(root, "status", "--porcelain", "--no-renames", "-z", *where).split("\0")
    return [entry.strip().partition(" ")[2].lstrip() for entry in entries if entry]


def cache_folder(root: Path) -> Path:
    """Where DVC keeps contents.

    Raises:
        UserError: DVC refuses; the message is its own.
    """
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "cache", "dir"], cwd=root, capture_output=True, text=True, check=False
    )
    if done.returncode:
        reason = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise UserError(f"{root}: {reason[0] if reason else 'dvc cache dir failed'}")
    return root / done.stdout.strip()


def set_profile(path: Path, profile: str) -> None:
    """Change the one line of ``params.yaml`` that names the profile; comments and seed stay."""
    lines = path.read_text().splitlines()
    changed = [f"profile: {profile}" if line.startswith("profile:") else line for line in lines]
    assert f"profile: {profile}" in changed, f"{path} has no line `profile:`"
    write_text(path, "\n".join(changed) + "\n")


def _scratch_folder(root: Path) -> Path:
    return folder_of(root, SCRATCH)


def _add(root: Path, folder: Path, commit: str) -> None:
    _git(root, "worktree", "prune")
    _git(root, "worktree", "add", "--quiet", "--force", "--detach", str(folder), commit)


def _share_cache(folder: Path, cache: Path) -> None:
    write_text(folder / ".dvc" / "config.local", f"[cache]\n    dir = {cache}\n")


def _git(folder: Path, *arguments: str, why: str = "") -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise UserError("git is not installed; a worktree needs it") from None
    if done.returncode:
        reason = done.stderr.strip().splitlines()
        raise UserError(f"git {arguments[0]} in {folder}: {why or (reason[-1] if reason else 'failed')}")
    return done.stdout.strip()

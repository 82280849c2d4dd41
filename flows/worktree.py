"""A profile other than that of ``params.yaml`` runs in a git worktree, so that the user's files stay as they are.

The worktree is a checkout of the last commit below ``.state/worktrees/<profile>``. It shares DVC's cache and the MLflow
database with the main checkout, and runs its own code.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from tinygptv.errors import UserError
from tinygptv.files import write_text


def prepare(root: Path, profile: str) -> Path:
    """Bring the profile's worktree to the last commit and return it.

    Raises:
        UserError: no git, no commit, or the commit does not have the profile.
    """
    commit = _git(root, "rev-parse", "--verify", "--quiet", "HEAD", why="a worktree needs a commit; commit first")
    folder = root / ".state" / "worktrees" / profile
    if not (folder / ".git").exists():
        _git(root, "worktree", "prune")
        _git(root, "worktree", "add", "--quiet", "--force", "--detach", str(folder), commit)
    elif _git(folder, "rev-parse", "HEAD") != commit:
        _git(folder, "checkout", "--quiet", "--force", "--detach", commit)
    config = f"configs/{profile}.yaml"
    if not (folder / config).is_file():
        raise UserError(f"{config} is not part of the last commit; commit it, or set `profile` in params.yaml")
    _set_profile(folder / "params.yaml", profile)
    cache = root / ".dvc" / "cache"
    write_text(folder / ".dvc" / "config.local", f"[cache]\n    dir = {cache}\n")
    return folder


def changed_files(root: Path) -> int:
    """How many tracked files differ from the last commit."""
    return len(_git(root, "status", "--porcelain", "--untracked-files=no").splitlines())


def _set_profile(path: Path, profile: str) -> None:
    """Change the one line that names the profile; comments and seed stay."""
    lines = path.read_text().splitlines()
    changed = [f"profile: {profile}" if line.startswith("profile:") else line for line in lines]
    assert f"profile: {profile}" in changed, f"{path} has no line `profile:`"
    write_text(path, "\n".join(changed) + "\n")


def _git(folder: Path, *arguments: str, why: str = "") -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise UserError("git is not installed; a profile other than that of params.yaml needs it") from None
    if done.returncode:
        reason = done.stderr.strip().splitlines()
        raise UserError(f"git {arguments[0]} in {folder}: {why or (reason[-1] if reason else 'failed')}")
    return done.stdout.strip()

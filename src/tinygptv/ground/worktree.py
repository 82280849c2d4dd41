"""Git worktrees below ``.state/worktrees``: steps run in them without a change to the user's files.

A profile other than that of ``params.yaml`` keeps its own, ``.state/worktrees/<profile>``, and so do scheduled runs,
``nightly-<profile>``, and experiments, ``experiment-<profile>``. A verification takes one that is gone afterwards. Each
is a checkout of the last commit, shares DVC's cache with the main checkout and runs its own code. The file of its own
profile alone is that of the checkout, committed or not: who has just written one wants to train with it.

Runs change files there that nobody commits: ``dvc.lock`` and reports. They stay when the worktree goes to the next
commit; they, and whatever else that would undo, are also kept below ``.state/kept``.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path

from tinygptv.ground.dvc import cache_folder
from tinygptv.ground.errors import ConfigError, UserError, from_os_error
from tinygptv.ground.file_names import DVC_LOCK, PARAMS
from tinygptv.ground.files import replace_folder, sha256_tree, write_text
from tinygptv.ground.folders import STATE, data_folder, reports_folder
from tinygptv.ground.locks import only_one
from tinygptv.ground.yaml_files import active_profile, read_yaml

SCRATCH = "verify"
REPORTS = "reports"
KEPT = 30
"""So many states of each worktree are kept; what is older goes."""
_HELD: dict[Path, AbstractContextManager[None]] = {}
"""Locks of worktrees that this process works in; the system frees them when it ends."""


def folder_of(root: Path, profile: str, *, nightly: bool = False) -> Path:
    """Where a profile's worktree lies: its own, or that of scheduled runs."""
    return root / STATE / "worktrees" / (f"nightly-{profile}" if nightly else profile)


def main_of(root: Path) -> Path:
    """The main checkout of a worktree; itself of any other checkout."""
    state = root.parent.parent
    return state.parent if (state.name, root.parent.name) == (STATE, "worktrees") else root


def output_folders(root: Path, profile: str, step: str) -> list[Path]:
    """Where a step's output of any profile may lie, seen from the main checkout or a worktree; the nearest first."""
    main = main_of(root)
    homes = dict.fromkeys((root, main, folder_of(main, profile)))
    return [data_folder(home, profile) / step for home in homes]


def results_folder(root: Path, profile: str) -> Path:
    """The reports of a profile: the checkout's, or, where it has none, those of the worktree in which it ran."""
    main = main_of(root)
    homes = [reports_folder(home, profile) for home in (root, main, folder_of(main, profile))]
    return next((folder for folder in homes if folder.is_dir()), homes[0])


def how_to_make(root: Path, profile: str, step: str = "") -> str:
    """The command that makes a step of a profile, or all: `dvc repro` knows the one of ``params.yaml`` alone."""
    if not (root / PARAMS).is_file() or profile == active_profile(root):
        return f"`dvc repro {step}`" if step else "`make demo`, or `dvc repro`"
    only = f" --to {step}" if step else ""
    return f"`python -m flows.pipeline --profile {profile}{only}`, which works in {folder_of(root, profile)} (--root)"


def prepare(root: Path, profile: str, *, nightly: bool = False, say: Callable[[str], object] = print) -> Path:
    """Bring the profile's worktree to the last commit and return it; until this process ends, no other one moves it.

    Args:
        root: the main checkout.
        profile: what its ``params.yaml`` names then. Its file is the checkout's, as it is now.
        nightly: that of scheduled runs, which take the file of the commit, too.
        say: takes the lines that tell where something is kept, and which file is not of the commit.

    Raises:
        UserError: no git, no commit, no such profile, or another process works in the worktree.
    """
    folder = folder_of(root, profile, nightly=nightly)
    if folder == _scratch_folder(root):
        raise UserError(f"the worktree `{SCRATCH}` belongs to `tinygptv verify`; give the profile another name")
    commit = last_commit(root)
    _hold(root, folder)
    if not (folder / ".git").exists():
        _add(root, folder, commit)
    elif last_commit(folder) != commit:
        _move(root, folder, commit, profile, say)
    if not nightly:
        _carry(root, folder, profile, say)
    return _made_ready(root, folder, profile)


def profile_path(profile: str) -> str:
    """A profile's file, from the checkout on."""
    return f"configs/{profile}.yaml"


def _carry(root: Path, folder: Path, profile: str, say: Callable[[str], object]) -> None:
    """Take the profile's file as it is in the main checkout."""
    name = profile_path(profile)
    if (root / name).is_file():
        write_text(folder / name, (root / name).read_text())
        if changed_files(folder, name):
            say(f"with {name} as it is in the checkout, which is not committed")


def _made_ready(root: Path, folder: Path, profile: str) -> Path:
    config = profile_path(profile)
    if not (folder / config).is_file():
        raise UserError(f"{config} is not part of the last commit; commit it, or set `profile` in params.yaml")
    set_profile(folder / PARAMS, profile)
    _share_cache(folder, cache_folder(root))
    return folder


def prepare_experiment(root: Path, profile: str) -> Path:
    """A worktree at the last commit in which nothing is left of a former experiment but resume points and outputs.

    Args:
        root: the main checkout.
        profile: what its ``params.yaml`` names then.

    Raises:
        UserError: as of ``prepare``.
    """
    folder = folder_of(root, f"experiment-{profile}")
    commit = last_commit(root)
    _hold(root, folder)
    if (folder / ".git").exists():
        _git(folder, "checkout", "--quiet", "--force", "--detach", commit)
        _git(folder, "clean", "--quiet", "-d", "--force")
    else:
        _add(root, folder, commit)
    return _made_ready(root, folder, profile)


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


def set_profile(path: Path, profile: str) -> None:
    """Change the one line of ``params.yaml`` that names the profile; comments and seed stay."""
    write_text(path, _with_profile(path.read_text(), profile))


def _with_profile(params: str, profile: str) -> str:
    lines = [f"profile: {profile}" if line.startswith("profile:") else line for line in params.splitlines()]
    assert f"profile: {profile}" in lines, f"{PARAMS} has no line `profile:`"
    return "\n".join(lines) + "\n"


def _hold(root: Path, folder: Path) -> None:
    """Keep other processes from moving a worktree: steps are at work in it."""
    lock = root / STATE / "locks" / f"worktree-{folder.name}.lock"
    if lock not in _HELD:
        held = only_one(lock, f"a pipeline in {folder}")
        held.__enter__()
        _HELD[lock] = held


def _move(root: Path, folder: Path, commit: str, profile: str, say: Callable[[str], object]) -> None:
    """Check out another commit; what runs made stays in its place, and whatever is not committed is kept aside."""
    names = _at_risk(root, folder, commit, profile)
    try:
        kept, new = _keep(root / STATE / "kept" / folder.name, folder, names) if names else (folder, False)
        _git(folder, "checkout", "--quiet", "--force", "--detach", commit)
        for name in names:
            if _of_run(name) and (name != DVC_LOCK or _is_yaml(kept / name)):
                _copy(kept / name, folder / name)
    except OSError as error:
        raise from_os_error(error, f"keeping what {folder} has uncommitted") from None
    if new:
        say(f"what {folder.name} had made and nobody committed is also in {kept.relative_to(root)}")


def _at_risk(root: Path, folder: Path, commit: str, profile: str) -> list[str]:
    """Files of a worktree that a checkout of another commit would undo, and with them every result of its runs."""
    differing = set(_git(folder, "diff", "--name-only", "--no-renames", "-z", commit).split("\0"))
    coming = set(_git(folder, "ls-tree", "-r", "--name-only", "-z", commit).split("\0"))
    tracked = set(changed_files(folder))
    unknown = set(changed_files(folder, ".")) - tracked
    found = tracked & differing | {name for name in unknown if name in coming or _of_run(name)}
    if _with_profile(_git(folder, "show", f"HEAD:{PARAMS}"), profile) == (folder / PARAMS).read_text():
        found.discard(PARAMS)  # only ``prepare`` has changed it
    carried, own = (home / profile_path(profile) for home in (folder, root))
    if carried.is_file() and own.is_file() and carried.read_bytes() == own.read_bytes():
        found.discard(profile_path(profile))  # the checkout has it
    return sorted(name for name in found if (folder / name).is_file())


def _of_run(name: str) -> bool:
    """Whether a file is one that runs write."""
    return name == DVC_LOCK or name.startswith(f"{REPORTS}/")


def _keep(place: Path, folder: Path, names: Iterable[str]) -> tuple[Path, bool]:
    """Copy files of a worktree to a folder with date and commit; False where the newest one has just these."""
    staged = place / ".new"
    shutil.rmtree(staged, ignore_errors=True)  # left by a kill
    for name in names:
        _copy(folder / name, staged / name)
    former = sorted(place.glob("[!.]*"))
    if former and sha256_tree(former[-1]) == sha256_tree(staged):
        shutil.rmtree(staged)
        return former[-1], False
    kept = place / f"{datetime.now(UTC):%Y-%m-%dT%H%M%S.%f}-{last_commit(folder)[:12]}"
    replace_folder(staged, kept)
    for old in former[: max(0, len(former) + 1 - KEPT)]:
        shutil.rmtree(old, ignore_errors=True)
    return kept, True


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target)


def _is_yaml(path: Path) -> bool:
    try:
        return isinstance(read_yaml(path), dict)
    except ConfigError:
        return False  # of a DVC that was killed


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
    except FileNotFoundError as error:
        if error.filename != "git":
            raise from_os_error(error, f"git {arguments[0]}") from None
        raise UserError("git is not installed; a worktree needs it") from None
    if done.returncode:
        reason = done.stderr.strip().splitlines()
        raise UserError(f"git {arguments[0]} in {folder}: {why or (reason[-1] if reason else 'failed')}")
    return done.stdout.strip()

"""DVC's cache: objects whose content is not what their name says.

Measured with DVC 3.67.1: an object is hashed when it is stored and then never again. ``dvc checkout`` copies a flipped
one into the workspace, and ``dvc pull`` one of a remote (unless the remote has ``verify = true``); both succeed,
``dvc status`` finds everything up to date, and ``dvc repro`` goes on with it. So the doctor reads the objects, and a
step compares its inputs with ``dvc.lock`` before it uses them (``StepContext.input``).
"""

from __future__ import annotations

import hashlib
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from tinygptv.doctor.findings import Finding
from tinygptv.ground.dvc import (
    DIR,
    cache_folder,
    dvc_md5,
    listed_files,
    locked_steps,
    named_md5,
    object_file,
    object_files,
)
from tinygptv.ground.errors import DataError, UserError
from tinygptv.ground.file_names import PARAMS
from tinygptv.ground.yaml_files import read_yaml

NAME = "DVC's cache"
QUICK_BYTES = 200_000_000
"""What is read without ``--deep``, smallest objects first: about half a second."""


@dataclass(frozen=True, slots=True)
class Output:
    """An output that ``dvc.lock`` records."""

    stage: str
    path: Path
    md5: str


def cache(root: Path, *, deep: bool) -> Iterator[Finding]:
    """The objects that ``dvc.lock`` names; with ``deep`` the whole cache, and the outputs in the workspace."""
    outputs = outputs_of(root)
    folder = store(root) if outputs or deep else root
    named: dict[Path, Output] = {}
    for output in outputs:
        for path in objects_of(folder, output.md5):
            named.setdefault(path, output)
    paths = sorted((path for path in named if path.is_file()), key=lambda path: (path.stat().st_size, path))
    if deep:
        paths += sorted(set(object_files(folder)) - set(paths))
    read = count = 0
    damaged = []
    for path in paths:
        read += path.stat().st_size
        if read > QUICK_BYTES and not deep:
            break
        count += 1
        if _md5(path) != named_md5(path):
            damaged.append(path)
    for path in damaged:
        yield _damage(root, path, named.get(path))
    if not damaged:
        left = len(paths) - count
        rest = f"; {left} larger ones were not read (`tinygptv doctor --deep`)" if left else ""
        yield Finding(NAME, "ok", f"{count} objects are what their names say{rest}")
    if deep:
        yield from _workspace(root, outputs)


def outputs_of(root: Path) -> list[Output]:
    """Every output that ``dvc.lock`` records."""
    return [
        Output(stage, root / out["path"], str(out["md5"]))
        for stage, entry in locked_steps(root).items()
        for out in entry.get("outs", ())
        if "md5" in out
    ]


@lru_cache(maxsize=1)
def store(root: Path) -> Path:
    """DVC's cache, or where it lies by default if DVC itself does not say: that is another finding."""
    try:
        return cache_folder(root)
    except UserError:
        return root / ".dvc" / "cache"


def ask_dvc(root: Path, *arguments: str) -> str:
    """What a command of DVC prints; nothing where it fails."""
    command = [sys.executable, "-m", "dvc", *arguments]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False).stdout.strip()


def objects_of(folder: Path, md5: str) -> Iterator[Path]:
    """An output's object, and those of its files where the output is a folder."""
    path = object_file(folder, md5)
    yield path
    if md5.endswith(DIR) and path.is_file():
        try:
            files = listed_files(path)
        except ValueError:
            return  # damaged, as its own digest will show
        for file in files:
            yield object_file(folder, file.md5)


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _damage(root: Path, path: Path, output: Output | None) -> Finding:
    """An object that must go, and where a sound one comes from: the workspace, a remote, or the step again."""
    text = f"{path} is damaged: its content is not what its name says"
    here = shlex.quote(str(path))
    if output is None:
        return Finding(NAME, "problem", text, f"rm -f {here}")
    text += f" ({output.path.relative_to(root)})"
    if is_sound(output):
        return Finding(NAME, "problem", text, for_profile(root, output, f"rm -f {here} && dvc commit {output.stage}"))
    again = "pull" if ask_dvc(root, "remote", "list") else "repro"
    where = shlex.quote(str(output.path))
    fix = for_profile(root, output, f"rm -rf {here} {where} && dvc {again} {output.stage}")
    return Finding(NAME, "problem", text, fix)


def for_profile(root: Path, output: Output, command: str) -> str:
    """A command of DVC's as it must be given for an output: ``dvc.yaml`` has those of the present profile only."""
    place, *profile = output.path.relative_to(root).parts[:2]
    params = root / PARAMS  # a project without one has no profiles
    present = (read_yaml(params) or {}).get("profile") if params.is_file() else "".join(profile)
    if place not in ("data", "reports") or profile == [present]:
        return command
    return f"with `profile: {profile[0]}` in params.yaml: {command}"


def is_sound(output: Output) -> bool:
    """Whether the workspace has an output as ``dvc.lock`` records it; reads it whole."""
    try:
        return dvc_md5(output.path) == output.md5
    except DataError:  # it is not there, or empty
        return False


def _workspace(root: Path, outputs: list[Output]) -> Iterator[Finding]:
    """Outputs whose content is not the recorded one, whatever their dates say; ``lost`` has those that no cache has."""
    present = [output for output in outputs if output.path.exists()]
    other = [output for output in present if not is_sound(output)]
    for output in other:
        if all(path.is_file() for path in objects_of(store(root), output.md5)):
            fix = f"dvc repro {output.stage} if you changed it; else rm -rf {output.path} && dvc checkout {output.path}"
            found = f"{output.path} is not what dvc.lock records: changed, or damaged"
            yield Finding("outputs", "warning", found, for_profile(root, output, fix))
    if not other:
        yield Finding("outputs", "ok", f"{len(present)} outputs are what dvc.lock records")

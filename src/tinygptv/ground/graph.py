"""What ``dvc.yaml`` and ``dvc.lock`` say of a step: its code, its inputs, and whether DVC has its result."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tinygptv.ground.dvc import lock_md5, locked_steps
from tinygptv.ground.file_names import DVC_YAML
from tinygptv.ground.files import sha256_file
from tinygptv.ground.names import STEPS
from tinygptv.ground.yaml_files import read_yaml


def entries_of(root: Path) -> dict[str, dict[str, Any]]:
    """Step → its entry in ``dvc.yaml``, all ``vars`` of that file filled in; ``${profile}`` stays: any may ask."""
    path = root / DVC_YAML
    content: Mapping[str, Any] = (read_yaml(path) or {}) if path.is_file() else {}
    known, stages = _vars(content), content.get("stages") or {}
    return {step: _filled(entry, known | _vars(entry)) for step, entry in stages.items()}


def entry_of(root: Path, step: str) -> dict[str, Any]:
    """The step's entry in ``dvc.yaml``, as ``entries_of`` has it; empty where it has none."""
    return entries_of(root).get(step, {})


def code_digests(root: Path, step: str) -> dict[str, str]:
    """Source file → sha256, for the files that ``dvc.yaml`` lets the step depend on.

    The files are those that run, which is what counts where another checkout is installed.
    """
    source = Path(__file__).resolve().parents[2]
    found: dict[str, str] = {}
    for dep in entry_of(root, step).get("deps", ()):
        if str(dep).startswith("src/"):
            path = source / str(dep).removeprefix("src/")
            for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
                digest = sha256_file(file) if file.is_file() else "missing"  # DVC refuses the step and names the file
                found[file.relative_to(source).as_posix()] = digest
    return found


def input_digests(root: Path, profile: str, step: str) -> dict[str, str]:
    """Earlier step → DVC digest of its output, for the step's inputs, in the order of the pipeline."""
    found = {name: lock_md5(root, Path("data") / profile / name) for name in inputs_of(entry_of(root, step))}
    return {name: digest for name, digest in found.items() if digest is not None}


def inputs_of(stage: Mapping[str, Any]) -> tuple[str, ...]:
    """The steps whose outputs a stage of ``dvc.yaml`` reads, in the order of the pipeline."""
    found = {step for step, _ in _read(stage)}
    return tuple(step for step in STEPS if step in found)


def viewed_by(stage: Mapping[str, Any]) -> tuple[str, ...]:
    """Those of them of whose output the stage depends on files alone, such as its view, and not on the whole."""
    whole = {step for step, part in _read(stage) if not part}
    return tuple(step for step in inputs_of(stage) if step not in whole)


def graph_of(root: Path) -> dict[str, tuple[str, ...]]:
    """Step → the steps whose outputs it reads, by the checkout's ``dvc.yaml``."""
    return {step: inputs_of(entry) for step, entry in entries_of(root).items()}


def taken_by_dvc(root: Path, profile: str, step: str, md5: str | None) -> bool:
    """Whether ``dvc.lock`` records a result of the step.

    Args:
        root: the checkout.
        profile: name of the profile.
        step: the step.
        md5: DVC's digest of the result; None for a step without outputs, which counts by its inputs.
    """
    entry = locked_steps(root).get(step, {})
    if md5 is not None:
        return any(out.get("md5") == md5 for out in entry.get("outs", ()))
    recorded = {dep["path"]: dep.get("md5") for dep in entry.get("deps", ())}
    inputs = input_digests(root, profile, step)
    return bool(entry) and all(recorded.get(f"data/{profile}/{name}") == now for name, now in inputs.items())


def _read(stage: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The steps and the parts of their outputs, empty for the whole, that a stage's deps name."""
    found = (re.match(r"data/[^/]+/(\w+)(?:/(.*))?$", str(dep)) for dep in stage.get("deps", ()))
    return [(match[1], match[2] or "") for match in found if match]


def _vars(entry: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for given in entry.get("vars", ()) for name, value in given.items()}


def _filled(part: Any, values: Mapping[str, str]) -> Any:
    """A part of an entry with ``${name}`` replaced where ``values`` say what the name stands for."""
    if isinstance(part, Mapping):
        return {_filled(key, values): _filled(value, values) for key, value in part.items()}
    if isinstance(part, list):
        return [_filled(item, values) for item in part]
    return re.sub(r"\$\{(\w+)\}", lambda told: values.get(told[1], told[0]), part) if isinstance(part, str) else part

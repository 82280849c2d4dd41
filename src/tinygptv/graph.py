"""What ``dvc.yaml`` and ``dvc.lock`` say of a step: its code, its inputs, and whether DVC has its result."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tinygptv.files import sha256_file
from tinygptv.profiles import read_yaml
from tinygptv.tracking.content import lock_md5
from tinygptv.tracking.facts import inputs_of


def stage_of(root: Path, step: str) -> dict[str, Any]:
    """The step's entry in ``dvc.yaml``; empty where it has none."""
    return _entry(root / "dvc.yaml", step)


def code_digests(root: Path, step: str) -> dict[str, str]:
    """Source file → sha256, for the files that ``dvc.yaml`` lets the step depend on.

    The files are those that run, which is what counts where another checkout is installed.
    """
    source = Path(__file__).resolve().parents[1]
    found: dict[str, str] = {}
    for dep in stage_of(root, step).get("deps", ()):
        if str(dep).startswith("src/"):
            path = source / str(dep).removeprefix("src/")
            for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
                digest = sha256_file(file) if file.is_file() else "missing"  # DVC refuses the step and names the file
                found[file.relative_to(source).as_posix()] = digest
    return found


def input_digests(root: Path, profile: str, step: str) -> dict[str, str]:
    """Earlier step → DVC digest of its output, for the step's inputs, in the order of the pipeline."""
    found = {name: lock_md5(root, Path("data") / profile / name) for name in inputs_of(stage_of(root, step))}
    return {name: digest for name, digest in found.items() if digest is not None}


def taken_by_dvc(root: Path, profile: str, step: str, md5: str | None) -> bool:
    """Whether ``dvc.lock`` records a result of the step.

    Args:
        root: the checkout.
        profile: name of the profile.
        step: the step.
        md5: DVC's digest of the result; None for a step without outputs, which counts by its inputs.
    """
    entry = _entry(root / "dvc.lock", step)
    if md5 is not None:
        return any(out.get("md5") == md5 for out in entry.get("outs", ()))
    recorded = {dep["path"]: dep.get("md5") for dep in entry.get("deps", ())}
    inputs = input_digests(root, profile, step)
    return bool(entry) and all(recorded.get(f"data/{profile}/{name}") == now for name, now in inputs.items())


def _entry(path: Path, step: str) -> dict[str, Any]:
    content: Mapping[str, Any] = (read_yaml(path) or {}) if path.is_file() else {}
    return dict((content.get("stages") or {}).get(step, {}))

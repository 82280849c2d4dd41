"""``tinygptv doctor``: what may stand in the way on this machine, and what to do about it.

Each check is a function that returns findings. Nothing here changes anything or imports torch.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement
from packaging.version import Version

from tinygptv.errors import UserError
from tinygptv.profiles import read_yaml
from tinygptv.tables import plain_table
from tinygptv.tracking.client import SQLITE, reachable, tracking_uri

PYTHON = (3, 11)
LEAST_FREE_GB = 5
LEAST_MEMORY_GB = 6
LEAST_CORES = 2
CEILINGS = {
    "fastapi": ("0.151", "Prefect's server does not start"),
    "sqlalchemy": ("2.1", "Prefect's scheduler dies silently: scheduled runs never appear"),
}
UNWANTED = {
    "torchvision": "transformers prefers its image code, which gives other bits",
    "timm": "the project does not use it and transformers changes its behaviour where it is installed",
}
INSTALL = "pip install -c constraints.txt -e '.[dev]'"

Level = Literal["ok", "warning", "problem"]


@dataclass(frozen=True, slots=True)
class Check:
    """One finding."""

    name: str
    level: Level
    finding: str
    fix: str = ""


def examine(root: Path) -> list[Check]:
    """Run every check on a checkout."""
    checks: tuple[Callable[[Path], Iterator[Check]], ...] = (
        _python,
        _pins,
        _ceilings,
        _unwanted,
        _programs,
        _disk,
        _machine,
        _gpu,
        _writable,
        _dvc_locks,
        _registry,
    )
    return [finding for check in checks for finding in check(root)]


def has_problem(checks: list[Check]) -> bool:
    """Whether something must be mended before the pipeline can work."""
    return any(check.level == "problem" for check in checks)


def report(checks: list[Check]) -> str:
    """The findings as a table, the fixes below it."""
    lines = [plain_table(("check", "", "finding"), [(check.name, check.level, check.finding) for check in checks])]
    fixes = [f"{check.level}: {check.name}: {check.fix}" for check in checks if check.level != "ok"]
    return "\n".join([*lines, "", *(fixes or ["nothing to do"])])


def _python(root: Path) -> Iterator[Check]:
    found = ".".join(str(part) for part in sys.version_info[:3])
    if sys.version_info[:2] == PYTHON:
        yield Check("python", "ok", found)
    else:
        yield Check("python", "problem", f"{found}, not 3.11", "run make clean install with python3.11 on the PATH")


def _pins(root: Path) -> Iterator[Check]:
    """Direct dependencies against pyproject.toml, what they pull in against constraints.txt."""
    if not (root / "pyproject.toml").is_file():
        yield Check("versions", "problem", f"{root} has no pyproject.toml", "git checkout pyproject.toml")
        return
    wrong: list[str] = []
    requirements = _requirements(root)
    for requirement in requirements:
        found = _version(requirement.name)
        if found is None:
            wrong.append(f"{requirement.name} is missing")
        elif Version(found).public not in requirement.specifier:
            wrong.append(f"{requirement.name} {found} instead of {requirement.specifier}")
    if wrong:
        yield Check("versions", "problem", "; ".join(wrong), INSTALL)
    else:
        yield Check("versions", "ok", f"{len(requirements)} pinned packages as in pyproject.toml and constraints.txt")


def _requirements(root: Path) -> list[Requirement]:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    direct = [Requirement(text) for text in project["dependencies"]]
    named = {requirement.name.lower() for requirement in direct}
    constraints = root / "constraints.txt"
    lines = constraints.read_text().splitlines() if constraints.is_file() else []
    pulled_in = [Requirement(line) for line in lines if line and not line.startswith("#")]
    # what only the tools for development need may be absent, so an uninstalled constraint says nothing
    return direct + [r for r in pulled_in if r.name.lower() not in named and _version(r.name) is not None]


def _ceilings(root: Path) -> Iterator[Check]:
    for name, (ceiling, reason) in CEILINGS.items():
        found = _version(name)
        if found is not None and Version(found) >= Version(ceiling):
            yield Check(name, "problem", f"{found} is not below {ceiling}: {reason}", INSTALL)
        elif found is not None:
            yield Check(name, "ok", f"{found} is below {ceiling}")


def _unwanted(root: Path) -> Iterator[Check]:
    for name, reason in UNWANTED.items():
        if (found := _version(name)) is not None:
            yield Check(name, "problem", f"{found} is installed: {reason}", f"pip uninstall {name}")


def _programs(root: Path) -> Iterator[Check]:
    for name, fix in (("git", "install git"), ("dvc", "put .venv/bin on the PATH, or call .venv/bin/dvc")):
        found = shutil.which(name) or (shutil.which(name, path=str(Path(sys.executable).parent)))
        yield Check(name, "ok", found) if found else Check(name, "problem", "not found", fix)


def _disk(root: Path) -> Iterator[Check]:
    free = shutil.disk_usage(root).free / 1e9
    text = f"{free:.0f} GB free at {root}"
    if free >= LEAST_FREE_GB:
        yield Check("disk", "ok", text)
    else:
        yield Check(
            "disk", "problem", f"{text}, at least {LEAST_FREE_GB} are needed", "free some space, or `dvc gc -w`"
        )


def _machine(root: Path) -> Iterator[Check]:
    import psutil

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory = psutil.virtual_memory().total / 1e9
    few = cores < LEAST_CORES
    yield Check("cores", "warning" if few else "ok", str(cores), "the pipeline will take longer" if few else "")
    if memory >= LEAST_MEMORY_GB:
        yield Check("memory", "ok", f"{memory:.0f} GB")
    else:
        yield Check(
            "memory", "warning", f"{memory:.1f} GB", f"close other programs; {LEAST_MEMORY_GB} GB are comfortable"
        )


def _gpu(root: Path) -> Iterator[Check]:
    """Asks the driver, not torch, whose import takes seconds."""
    program = shutil.which("nvidia-smi")
    if program is None:
        yield Check("gpu", "ok", "none; the CPU is used")
        return
    command = [program, "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    except subprocess.TimeoutExpired:
        yield Check("gpu", "warning", "nvidia-smi does not answer", "restart the driver, or the machine")
        return
    if done.returncode:
        yield Check("gpu", "warning", "nvidia-smi fails", "mend the driver, or set runtime.device to cpu")
    else:
        yield Check("gpu", "ok", "; ".join(done.stdout.split("\n")).strip("; "))


def _writable(root: Path) -> Iterator[Check]:
    for name in ("data", ".state", "reports", ".dvc"):
        folder = root / name
        nearest = folder if folder.exists() else root
        if os.access(nearest, os.W_OK | os.X_OK):
            yield Check(f"{name}/", "ok", "can be written")
        else:
            yield Check(f"{name}/", "problem", f"{nearest} cannot be written", f"sudo chown -R $(id -u) {nearest}")


def _dvc_locks(root: Path) -> Iterator[Check]:
    """A lock whose process is gone hinders nobody any more; one whose process lives may be somebody else's."""
    path = root / ".dvc" / "tmp" / "rwlock"
    try:
        content = json.loads(path.read_text() or "{}") if path.is_file() else {}
        holders = sorted(_pids(content))
    except (json.JSONDecodeError, AttributeError, TypeError):
        yield Check("DVC's lock", "problem", f"{path} is damaged", f"rm {path}")
        return
    alive = [pid for pid in holders if _runs(pid)]
    if alive:
        pids = ", ".join(str(pid) for pid in alive)
        yield Check(
            "DVC's lock",
            "warning",
            f"held by PID {pids}",
            "wait for it; if that is no DVC, remove the file " + str(path),
        )
    elif holders:
        yield Check(
            "DVC's lock", "warning", "left by a process that is gone", f"rm {path} (DVC also does it by itself)"
        )
    else:
        yield Check("DVC's lock", "ok", "free")


def _pids(content: dict[str, dict[str, object]]) -> set[int]:
    """The process ids in DVC's file: path → {"read": [{pid, cmd}], "write": {pid, cmd}}."""
    found: set[int] = set()
    for entry in content.values():
        for holders in entry.values():
            for holder in holders if isinstance(holders, list) else [holders]:
                if isinstance(holder, dict) and "pid" in holder:
                    found.add(int(holder["pid"]))
    return found


def _runs(pid: int) -> bool:
    """Whether a process lives; a zombie does not, though DVC takes it for alive."""
    import psutil

    return bool(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)


def _registry(root: Path) -> Iterator[Check]:
    """DVC may hold ``register`` for done while the registry is empty: after ``dvc pull``, or without the database."""
    lock = root / "dvc.lock"
    recorded = lock.is_file() and "register" in ((read_yaml(lock) or {}).get("stages") or {})
    if not recorded:
        yield Check("registry", "ok", "no model was registered yet")
        return
    name = _model_name(root)
    try:
        count = _count_versions(root, name)
    except UserError as error:
        yield Check("registry", "warning", str(error), "start MLflow's server, or unset MLFLOW_TRACKING_URI")
        return
    if count:
        yield Check("registry", "ok", f"{count} versions of {name}")
    else:
        yield Check(
            "registry", "problem", f"empty, though DVC holds `register` for done ({name})", "dvc repro -f -s register"
        )


def _model_name(root: Path) -> str:
    profile = read_yaml(root / "params.yaml")["profile"]
    return str(read_yaml(root / "configs" / f"{profile}.yaml")["register"]["model_name"])


def _count_versions(root: Path, name: str) -> int:
    uri = tracking_uri(root)
    if uri.startswith(SQLITE) and not Path(uri.removeprefix(SQLITE)).is_file():
        return 0  # connecting would create the database
    with reachable(root) as tracking:
        return len(tracking.mlflow.search_model_versions(f"name = '{name}'"))


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None

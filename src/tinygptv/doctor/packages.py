"""Python, the installed packages and the programs on the PATH."""

from __future__ import annotations

import shutil
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

from tinygptv.doctor.findings import Finding

PYTHON = (3, 11)
CEILINGS = {
    "fastapi": ("0.151", "Prefect's server does not start"),
    "sqlalchemy": ("2.1", "Prefect's scheduler dies silently: scheduled runs never appear"),
}
UNWANTED = {
    "torchvision": "transformers prefers its image code, which gives other bits",
    "timm": "the project does not use it and transformers changes its behaviour where it is installed",
}
INSTALL = "pip install -c constraints.txt -e '.[dev]'"


def python(root: Path) -> Iterator[Finding]:
    """The interpreter's version."""
    found = ".".join(str(part) for part in sys.version_info[:3])
    if sys.version_info[:2] == PYTHON:
        yield Finding("python", "ok", found)
    else:
        yield Finding("python", "problem", f"{found}, not 3.11", "run make clean install with python3.11 on the PATH")


def pins(root: Path) -> Iterator[Finding]:
    """Direct dependencies against pyproject.toml, what they pull in against constraints.txt."""
    if not (root / "pyproject.toml").is_file():
        yield Finding("versions", "problem", f"{root} has no pyproject.toml", "git checkout pyproject.toml")
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
        yield Finding("versions", "problem", "; ".join(wrong), INSTALL)
    else:
        yield Finding("versions", "ok", f"{len(requirements)} pinned packages as in pyproject.toml and constraints.txt")


def _requirements(root: Path) -> list[Requirement]:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    direct = [Requirement(text) for text in project["dependencies"]]
    named = {requirement.name.lower() for requirement in direct}
    constraints = root / "constraints.txt"
    lines = constraints.read_text().splitlines() if constraints.is_file() else []
    pulled_in = [Requirement(line) for line in lines if line and not line.startswith("#")]
    # what only the tools for development need may be absent, so an uninstalled constraint says nothing
    return direct + [r for r in pulled_in if r.name.lower() not in named and _version(r.name) is not None]


def ceilings(root: Path) -> Iterator[Finding]:
    """Packages whose next version breaks a server without an error at installation."""
    for name, (ceiling, reason) in CEILINGS.items():
        found = _version(name)
        if found is not None and Version(found) >= Version(ceiling):
            yield Finding(name, "problem", f"{found} is not below {ceiling}: {reason}", INSTALL)
        elif found is not None:
            yield Finding(name, "ok", f"{found} is below {ceiling}")


def unwanted(root: Path) -> Iterator[Finding]:
    """Packages that change results where they are installed."""
    for name, reason in UNWANTED.items():
        if (found := _version(name)) is not None:
            yield Finding(name, "problem", f"{found} is installed: {reason}", f"pip uninstall {name}")


def programs(root: Path) -> Iterator[Finding]:
    """The programs that steps and flows call."""
    for name, fix in (("git", "install git"), ("dvc", "put .venv/bin on the PATH, or call .venv/bin/dvc")):
        found = shutil.which(name) or (shutil.which(name, path=str(Path(sys.executable).parent)))
        yield Finding(name, "ok", found) if found else Finding(name, "problem", "not found", fix)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None

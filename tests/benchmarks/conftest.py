"""A machine that has torch, transformers and peft and nothing else, as far as an import can tell."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"
FORBIDDEN = {"pydantic", "pydantic_core", "ruamel", "mlflow", "dvc", "webdataset", "bitsandbytes", "PIL"}
"""Hidden whatever the present versions of the three ask for."""
SITECUSTOMIZE = """
import sys
from importlib.machinery import PathFinder

HIDDEN = frozenset({hidden!r})


class Hiding(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if path is None and name in HIDDEN else super().find_spec(name, path, target)


sys.meta_path[:] = [Hiding if finder is PathFinder else finder for finder in sys.meta_path]
sys.path[:] = [entry for entry in sys.path if entry != {source!r}]  # the project is not installed
"""


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process on such a machine, which has no GPU."""
    needed = needed_by("torch", "transformers", "peft")
    hidden = {
        package
        for package, owners in metadata.packages_distributions().items()
        if not needed & {normal(owner) for owner in owners}
    }
    folder = tmp_path_factory.mktemp("bare")
    hidden = sorted((hidden | FORBIDDEN) - {"tinygptv"})
    (folder / "sitecustomize.py").write_text(SITECUSTOMIZE.format(hidden=hidden, source=str(ROOT / "src")))
    environment = os.environ | {"PYTHONPATH": str(folder), "CUDA_VISIBLE_DEVICES": ""}
    for name in ("tinygptv", *FORBIDDEN):
        code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({name!r}) is not None)"
        assert subprocess.run([sys.executable, "-c", code], env=environment, cwd=folder).returncode == 0, name
    return environment


def needed_by(*names: str) -> set[str]:
    """These distributions and what they need, without extras."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = normal(waiting.pop())
        if name not in found:
            found.add(name)
            for line in metadata.requires(name) or ():
                requirement = Requirement(line)
                if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                    waiting.append(requirement.name)
    return found


def normal(name: str) -> str:
    """A distribution's name in its one form."""
    return re.sub(r"[-_.]+", "-", name).lower()

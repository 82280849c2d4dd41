"""A small checkout that the doctor finds nothing wrong with."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest

from tinygptv.doctor import Finding, examine, machine

ROOT = Path(__file__).resolve().parents[2]
PYPROJECT = '[project]\nname = "x"\ndependencies = ["psutil=={psutil}", "sqlalchemy[asyncio]>=2.0,<2.1"]\n'


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(machine, "LEAST_FREE_GB", 0)
    (tmp_path / "configs").mkdir()
    shutil.copy(ROOT / "configs" / "tiny.yaml", tmp_path / "configs")
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    (tmp_path / "params.yaml").write_text("profile: tiny\nseed: 7\n")
    (tmp_path / "pyproject.toml").write_text(PYPROJECT.format(psutil=metadata.version("psutil")))
    (tmp_path / ".dvc" / "tmp").mkdir(parents=True)
    return tmp_path


@pytest.fixture
def found() -> Callable[[Path, str], Finding]:
    """The one finding of a name."""

    def look(root: Path, name: str) -> Finding:
        checks = [check for check in examine(root) if check.name == name]
        assert len(checks) == 1
        return checks[0]

    return look


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


@pytest.fixture
def stored(checkout):
    """``stored(step, files)``: an output in the workspace, in a cache as DVC lays it out, and in ``dvc.lock``."""
    stages = {}

    def store(step: str, **files: bytes):
        def put(content: bytes, name: str):
            path = checkout / ".dvc" / "cache" / "files" / "md5" / name[:2] / name[2:]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            return path

        for name, content in files.items():
            path = checkout / "data" / "tiny" / step / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        paths = {name: put(content, md5(content)) for name, content in files.items()}
        entries = [{"md5": md5(content), "relpath": name} for name, content in sorted(files.items())]
        listing = json.dumps(entries).encode()
        paths["."] = put(listing, f"{md5(listing)}.dir")
        stages[step] = {"cmd": "x", "outs": [{"path": f"data/tiny/{step}", "md5": f"{md5(listing)}.dir"}]}
        (checkout / "dvc.lock").write_text(json.dumps({"schema": "2.0", "stages": stages}))
        return paths

    return store

"""A small checkout that the doctor finds nothing wrong with."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest

from tinygptv.doctor import Check, examine, machine

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
def found() -> Callable[[Path, str], Check]:
    """The one finding of a name."""

    def look(root: Path, name: str) -> Check:
        checks = [check for check in examine(root) if check.name == name]
        assert len(checks) == 1
        return checks[0]

    return look

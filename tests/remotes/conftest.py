"""A checkout with a DVC remote that is a folder, and a hub."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hub import hub, no_network  # noqa: F401 (fixtures)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One whose remote ``store`` is the folder ``store`` beside it."""
    root = tmp_path / "checkout"
    (root / ".dvc").mkdir(parents=True)
    (root / "dvc.yaml").write_text("stages: {}\n")
    (root / ".dvc" / "config").write_text("['remote \"store\"']\n    url = ../../store\n")
    (tmp_path / "store").mkdir()
    for name in ("DVC_SITE_CACHE_DIR", "DVC_GLOBAL_CONFIG_DIR", "HOME"):
        monkeypatch.setenv(name, str(tmp_path / "private"))
    return root


@pytest.fixture
def store(tmp_path: Path, checkout: Path) -> Path:
    """The folder of the remote."""
    folder = tmp_path / "store"
    (folder / "pictures" / "more").mkdir(parents=True)
    for name in ("cats.json", "pictures/1.png", "pictures/more/2.png", "pictures2.txt"):
        (folder / name).write_bytes(name.encode())
    return folder

"""One checkout and one MLflow store for all tests of this folder, put back after each.

Its model has three versions: 1 is champion and gets 80 of a hundred questions right; 2, with 60, was refused; 3, with
95, is the challenger and waits for a promotion.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.promotion.worlds import World, cache_of, make_duel, make_root
from tests.tracking.pipelines import with_little_code
from tinygptv.ground import materials
from tinygptv.tracking.client import Tracking


@pytest.fixture(autouse=True)
def _no_flow(monkeypatch, tmp_path):
    for name in ("MLFLOW_TRACKING_URI", "TINYGPTV_PIPELINE_ID", "PREFECT_FLOW_RUN_ID", "DVC_ROOT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(materials, "cache_folder", cache_of)  # what DVC would say, without its half second
    with_little_code(monkeypatch, tmp_path)


@pytest.fixture(scope="session")
def duel(small_shards: Path, tmp_path_factory: pytest.TempPathFactory) -> World:
    root = make_root(tmp_path_factory.mktemp("promotion") / "checkout", small_shards)
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    tracking = Tracking.connect(root)
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(materials, "cache_folder", cache_of)
        with_little_code(patch, tmp_path_factory.mktemp("little"))
        made = make_duel(root, tracking)
    copy(root / "mlflow.db", root / "before.db")
    return made


@pytest.fixture
def world(duel: World) -> Iterator[World]:
    """The model with its three versions; whatever a test does to store, packages and shards ends with it."""
    kept = {path: path.read_bytes() for folder in folders(duel) for path in folder.rglob("*") if path.is_file()}
    yield World(duel.root, duel.tracking, duel.pipeline)
    copy(duel.root / "before.db", duel.root / "mlflow.db")
    shutil.rmtree(duel.root / "data" / "tiny" / "shards")
    for path, content in kept.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def folders(duel: World) -> list[Path]:
    """What the versions' packages and the test set lie in."""
    return [duel.root / "data" / "tiny" / "shards", *(duel.package(version) for version in ("1", "2", "3"))]


def copy(source: Path, target: Path) -> None:
    """Copy a database that others have open."""
    with closing(sqlite3.connect(source)) as one, closing(sqlite3.connect(target)) as two:
        one.backup(two)

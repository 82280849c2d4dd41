"""One MLflow store for all tests of this folder: creating one costs seconds."""

import dataclasses
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest

from tests.tracking.pipelines import Recorded, record
from tinygptv.config import Config, Runtime, Shards
from tinygptv.config.profiles import Profile
from tinygptv.tracking.client import Tracking
from tinygptv.tracking.runs import StepRun

GRAPH = """
stages:
  shards:
    cmd: "true"
    deps: [src/a.py, "data/${profile}/download"]
    params: [seed, {"configs/${profile}.yaml": [runtime, shards]}]
    outs: ["data/${profile}/shards"]
"""
LOCK = """
schema: '2.0'
stages:
  download:
    cmd: x
    outs:
    - {path: data/tiny/download, hash: md5, md5: 0123456789abcdef0123456789abcdef.dir, size: 1, nfiles: 1}
"""


@pytest.fixture(autouse=True)
def _no_flow(monkeypatch):
    for name in ("MLFLOW_TRACKING_URI", "TINYGPTV_PIPELINE_ID", "PREFECT_FLOW_RUN_ID", "DVC_ROOT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def root(tmp_path_factory) -> Path:
    """A checkout with a graph, a lock and one commit."""
    root = tmp_path_factory.mktemp("checkout")
    (root / "dvc.yaml").write_text(GRAPH)
    (root / "dvc.lock").write_text(LOCK)
    (root / "params.yaml").write_text("profile: tiny\nseed: 7\n")
    for command in (
        ["init", "-q"],
        ["add", "dvc.yaml"],
        ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "x"],
    ):
        subprocess.run(["git", *command], cwd=root, check=True)
    return root


@pytest.fixture(scope="session")
def connected(root) -> Tracking:
    return _connect(root)


@pytest.fixture
def tracking(connected) -> Tracking:
    """The store, at MLflow's global address as well: other tests of the process have theirs there."""
    mlflow.set_tracking_uri(connected.uri)
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    return connected


@pytest.fixture
def profile() -> Profile:
    """Two sections are enough for a run."""
    config = Config.model_construct(
        shards=Shards(images_per_shard=16, max_rejected=0.0),
        runtime=Runtime(device="cpu", dtype="float32", threads=1, deterministic=True),
    )
    return Profile("tiny", 7, config)


@pytest.fixture
def step_run(root, profile, tmp_path) -> Callable[[str], StepRun]:
    def make(step: str = "shards") -> StepRun:
        return StepRun(step=step, profile=profile, root=root, spool_folder=tmp_path / "spool")

    return make


@pytest.fixture(scope="session")
def recorded(tmp_path_factory) -> Recorded:
    """A pipeline's runs and version in a store of their own. Read only."""
    return record(_connect(tmp_path_factory.mktemp("recorded")))


@pytest.fixture
def made(recorded, tmp_path) -> Recorded:
    """The same in a store that the test may change: ``mlflow.db`` in ``tmp_path``."""
    shutil.copy(recorded.tracking.root / "mlflow.db", tmp_path)
    copied = {"md5": dict(recorded.md5), "runs": dict(recorded.runs)}
    return dataclasses.replace(recorded, tracking=_connect(tmp_path), **copied)


def _connect(root: Path) -> Tracking:
    """Connect to a folder's own store and leave no address for others in the environment."""
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    connected = Tracking.connect(root)
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    return connected

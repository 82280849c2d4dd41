"""The flow around ``tinygptv verify``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.provenance.conftest import own_dvc, project, template  # noqa: F401 (the project whose steps are compared)

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "flows.verify"]


@pytest.fixture
def env(tmp_path) -> dict[str, str]:
    """The flow's code is that of this repository, its records are the test's."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "src")])
    return os.environ | {"PYTHONPATH": path, "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'mlflow.db'}"}


@pytest.mark.pipeline
def test_the_flow_verifies_shows_and_records(project, env):  # noqa: F811
    done = subprocess.run(
        [*COMMAND, "shards", "evaluate"], cwd=project, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[:2] for line in lines[:2]] == [["shards", "equal"], ["evaluate", "equal"]]
    assert lines[-1].startswith("2 of 2 steps equal; http://127.0.0.1:5000/#/experiments/")
    assert (project / ".prefect").is_dir()
    env["DRIFT"] = "evaluate"
    done = subprocess.run([*COMMAND, "evaluate"], cwd=project, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "  reports/tiny/evaluate.json: sum: 112.0 (lock), 112.5 (now)\n" in done.stdout
    assert "0 of 1 steps equal; http" in done.stdout
    done = subprocess.run([*COMMAND, "nix"], cwd=project, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "dvc.lock has no such step" in done.stdout


@pytest.mark.pipeline
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_flow_leaves_no_worktree(project, env, tmp_path, number):  # noqa: F811
    started = tmp_path / "started"
    env |= {"WAIT": "shards", "WAIT_FILE": str(started)}
    flow = subprocess.Popen([*COMMAND, "shards"], cwd=project, env=env, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (started.is_file() and started.read_text()):
        assert flow.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    flow.send_signal(number)
    assert flow.wait(60) == 128 + number
    assert not Path("/proc", started.read_text()).exists()
    assert not (project / ".state" / "worktrees" / "verify").exists()


def test_outside_of_a_checkout_is_one_line(tmp_path, env):
    done = subprocess.run(COMMAND, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("verify: no dvc.yaml in ") and done.stderr.count("\n") == 1

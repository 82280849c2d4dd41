"""Drill 29: Prefect's server restarted, the flow killed, while a stage runs. The stage runs once, or goes on once."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.drills.prefect_server import PrefectServer, prefect_server
from tests.drills.projects import CODE, with_dvc
from tinygptv.tracking.client import Tracking

RECONCILED_SECONDS = 60.0
ROOT = Path(__file__).resolve().parents[2]
STEP = """\
#!/bin/sh
set -e
echo began >> "began-$1"
while [ -f "wait-$1" ]; do sleep 0.1; done
mkdir -p "data/tiny/$1" .state/tiny
echo "$1" > "data/tiny/$1/result"
printf '{"pipeline": "%s", "run_id": "", "url": ""}' "$TINYGPTV_PIPELINE_ID" > ".state/tiny/$1.json"
echo ended >> "ended-$1"
"""
GRAPH = """\
stages:
  first: {cmd: ./step.sh first, outs: [data/tiny/first], meta: {retries: 1}}
  second: {cmd: ./step.sh second, deps: [data/tiny/first], outs: [data/tiny/second], meta: {retries: 1}}
  third: {cmd: ./step.sh third, deps: [data/tiny/second], outs: [data/tiny/third], meta: {retries: 1}}
"""
STAGES = ("first", "second", "third")


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[PrefectServer]:
    with prefect_server(tmp_path_factory.mktemp("prefect")) as server:
        yield server


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """Three stages that leave a mark when they begin and when they end; the second waits as long as a file is there."""
    root = tmp_path / "project"
    (root / "configs").mkdir(parents=True)
    (root / "configs" / "tiny.yaml").write_text("size: 1\n")
    (root / "params.yaml").write_text("profile: tiny\nseed: 7\n")
    (root / "step.sh").write_text(STEP)
    (root / "step.sh").chmod(0o755)
    (root / "dvc.yaml").write_text(GRAPH)
    with_dvc(root, tmp_path, monkeypatch, code=())
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "src")]))
    monkeypatch.setenv("TEST_MARK", str(root))
    (root / "wait-second").touch()
    return root


class Flow:
    """A launcher in a process of its own; below it the flow, DVC and the stage."""

    def __init__(self, root: Path, server: PrefectServer, *options: str) -> None:
        self.root, self.server = root, server
        self.before = {run["id"] for run in server.runs("flow_runs")}
        self.output = root / f"flow-{len(self.before)}.log"
        command = [sys.executable, "-m", "flows.pipeline", "--server", server.url, *options]
        with self.output.open("w") as output:
            self.launcher = subprocess.Popen(command, cwd=root, stdout=output, stderr=output)

    def wait(self, code: int) -> None:
        assert self.launcher.wait(300) == code, self.output.read_text()

    def kill(self, *, launcher: bool) -> None:
        """SIGKILL to the flow; with the launcher, neither can tell anybody."""
        children = psutil.Process(self.launcher.pid).children(recursive=True)
        (flow,) = (process for process in children if "flows.flow" in process.cmdline())
        if launcher:
            self.launcher.send_signal(signal.SIGSTOP)
        flow.kill()
        if launcher:
            self.launcher.kill()

    def states(self) -> tuple[list[str], set[str]]:
        """State of the flow's run and of its tasks, as the server has them."""
        runs = [run for run in self.server.runs("flow_runs") if run["id"] not in self.before]
        ids = {run["id"] for run in runs}
        tasks = [task for task in self.server.runs("task_runs") if task["flow_run_id"] in ids]
        return [run["state_type"] for run in runs], {task["state_type"] for task in tasks}


def until(condition, seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def marks(root: Path, word: str) -> list[int]:
    """How often each stage began, or ended."""
    paths = [root / f"{word}-{stage}" for stage in STAGES]
    return [len(path.read_text().splitlines()) if path.exists() else 0 for path in paths]


def no_process_left(root: Path) -> bool:
    for process in psutil.process_iter():
        try:
            marked = process.environ().get("TEST_MARK") == str(root)
            if marked and process.status() != psutil.STATUS_ZOMBIE:
                return False
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return True


@pytest.mark.drills
@pytest.mark.drill(29, "Prefect's server killed and started again while a stage runs: every stage once")
@pytest.mark.parametrize("over_the_end", [False, True], ids=["within the stage", "over its end"])
def test_the_server_is_restarted(project, server, over_the_end):
    flow = Flow(project, server, "--no-parent-run")
    until((project / "began-second").exists, 120, "the second stage did not begin")
    server.kill()
    if over_the_end:
        (project / "wait-second").unlink()
        until((project / "ended-third").exists, 60, "the stages waited for the server")
    time.sleep(2)
    server.start()
    (project / "wait-second").unlink(missing_ok=True)
    flow.wait(0)
    assert marks(project, "began") == marks(project, "ended") == [1, 1, 1]
    until(lambda: flow.states() == (["COMPLETED"], {"COMPLETED"}), RECONCILED_SECONDS, f"{flow.states()}")


@pytest.mark.drills
@pytest.mark.drill(29, "flow killed in a stage, alone and with its launcher: no orphan, goes on once, no run left open")
@pytest.mark.parametrize("launcher", [False, True], ids=["flow", "flow and launcher"])
def test_the_flow_is_killed(project, server, launcher):
    killed = Flow(project, server, "--no-parent-run")
    until((project / "began-second").exists, 120, "the second stage did not begin")
    killed.kill(launcher=launcher)
    killed.wait(-9 if launcher else 137)
    until(lambda: no_process_left(project), 30, "a process was left")
    if not launcher:  # it told the server
        assert killed.states() == (["CRASHED"], {"COMPLETED", "CRASHED"})
    (project / "wait-second").unlink()
    again = Flow(project, server, "--no-parent-run")
    until(lambda: killed.states()[0].count("CRASHED") == 1, RECONCILED_SECONDS, "the killed flow is still running")
    again.wait(0)
    assert marks(project, "began") == [1, 2, 1]
    assert marks(project, "ended") == [1, 1, 1]
    assert again.states() == (["COMPLETED"], {"COMPLETED"})
    assert no_process_left(project)


@pytest.mark.drills
@pytest.mark.drill(29, "a real stage behind a restarted server and a killed flow: same bytes, one run in MLflow")
@pytest.mark.parametrize("fault", ["server restarted", "flow killed"])
def test_a_real_stage(fault, checkout, with_stage1, server, tmp_path, monkeypatch):
    root = with_dvc(checkout.root, tmp_path, monkeypatch, code=CODE)
    monkeypatch.setenv("TEST_MARK", str(root))
    shutil.rmtree(checkout.state)
    shutil.rmtree(checkout.data / "stage1")
    options = ("--from", "stage1", "--to", "stage1")
    flow = Flow(root, server, *options)
    until(lambda: list(checkout.state.glob("spool/stage1-*.jsonl")), 120, "the stage did not begin")
    if fault == "flow killed":
        flow.kill(launcher=False)
        flow.wait(137)
        until(lambda: no_process_left(root), 60, "a process was left")
        flow = Flow(root, server, *options)
    else:
        server.kill()
        time.sleep(2)
        server.start()
    flow.wait(0)
    assert checkout.outputs() == with_stage1.outputs()
    tracking = Tracking.connect(root)
    runs = tracking.mlflow.search_runs([tracking.experiment("smoke")], "tags.step = 'stage1'")
    assert [run.info.status for run in runs] == ["FINISHED"]
    ids = [run["id"] for run in server.runs("flow_runs") if run["id"] not in flow.before]
    assert [runs[0].data.tags["prefect.flow_run_id"]] == ids
    assert len(tracking.mlflow.get_metric_history(runs[0].info.run_id, "loss")) == 4

"""Drill 31: several launches of one stage at the same moment. One works; the others name it and leave."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.drills.projects import with_dvc
from tinygptv.tracking.client import Tracking

AT_ONCE = 8
WAITING = """
import sys, time, types
from tinygptv.tracking.runs import StepRun
StepRun._ship = lambda self: (self._tried.set(), self._done.set())
module = types.ModuleType("tinygptv.steps.shards")
def run(context):
    (context.out / "whole").write_text("whole")
    print("ready", flush=True)
    sys.stdin.read()
module.run = run
sys.modules["tinygptv.steps.shards"] = module
"""
OFFLINE = """
import sys
from tinygptv.tracking.runs import StepRun
StepRun._ship = lambda self: (self._tried.set(), self._done.set())
"""
POINT = """
record = StepRun.metrics
def metrics(self, values, step=None):
    record(self, values, step)
    if step is not None:
        print("point", flush=True)
        sys.stdin.read()
StepRun.metrics = metrics
"""
"""A stage that waits at the first point of its curve."""
CLOCKS = ("", "1e9", "4e9")
"""The present, 2001 and 2096, as the processes see them."""


def at(clock: str) -> str:
    return f"import time; time.time = lambda: {clock}; time.time_ns = lambda: int({clock}) * 10**9\n" if clock else ""


@pytest.mark.drill(31, "eight launches of a step, with clocks of three centuries: one works", trials=AT_ONCE)
def test_one_of_eight_works_and_the_others_name_it(shards_checkout, start):
    """The step waits for its stdin, so that all others find it at work."""
    lock = shards_checkout.state / "locks" / "shards.lock"
    with subprocess.Popen(["true"]) as ended:
        pass
    lock.write_text(str(ended.pid))  # of an earlier launch
    os.utime(lock, (4e9, 4e9))
    processes = [start(shards_checkout, "shards", before=at(CLOCKS[n % 3]) + WAITING) for n in range(AT_ONCE)]
    deadline = time.monotonic() + 60
    while len(running := [process for process in processes if process.poll() is None]) > 1:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    (winner,) = running
    assert winner.stdout.readline() == "ready\n"
    for process in processes:
        if process is not winner:
            output, error = process.communicate()
            assert (process.returncode, output) == (2, "")
            line = f"shards: shards runs already (PID {winner.pid}); wait for it, or stop it with `kill {winner.pid}`\n"
            assert error == line
    _, error = winner.communicate("", timeout=60)
    assert winner.returncode == 0, error
    assert [path.name for path in (shards_checkout.data / "shards").iterdir()] == ["whole"]


@pytest.mark.drills
@pytest.mark.drill(31, "eight launches of stage1 by command and by DVC: one run, one result", trials=AT_ONCE)
@pytest.mark.parametrize("launcher", ["command", "dvc"])
def test_a_real_stage(launcher, checkout, with_stage1, start, tmp_path, monkeypatch):
    root = with_dvc(checkout.root, tmp_path, monkeypatch)
    shutil.rmtree(checkout.state / "spool")  # records of the steps that made the checkout without MLflow
    processes = [start(checkout, "stage1") if launcher == "command" else repro(root) for _ in range(AT_ONCE)]
    results = {process.pid: (*process.communicate(timeout=300), process.returncode) for process in processes}
    (winner,) = (pid for pid, (_, _, code) in results.items() if code == 0)
    del results[winner]
    for output, error, code in results.values():
        if launcher == "command":
            line = f"stage1: stage1 runs already (PID {winner}); wait for it, or stop it with `kill {winner}`\n"
            assert (code, output, error) == (2, "", line)
        else:  # DVC's own code and words: the second ones where the winner still reads the graph
            assert code == 255
            assert f"(PID {winner})" in error or "Unable to acquire lock" in error
    assert checkout.outputs() == with_stage1.outputs()
    tracking = Tracking.connect(root)
    (run,) = tracking.mlflow.search_runs([tracking.experiment("smoke")])
    assert (run.info.run_name, run.info.status) == ("stage1", "FINISHED")


@pytest.mark.drills
@pytest.mark.drill(31, "a stage killed with its loader's workers still there: the next launch waits for them and works")
def test_orphans_of_a_killed_stage_do_not_bar_the_next_launch(checkout, with_stage1, start):
    """Forked workers share the locks and notice only seconds later that their parent is gone."""
    checkout.edit("workers: 0", "workers: 2")
    shutil.rmtree(checkout.data / "stage1")
    shutil.rmtree(checkout.state / "spool")
    killed = start(checkout, "stage1", before=OFFLINE + POINT)
    assert "point\n" in iter(killed.stdout.readline, "")
    workers = psutil.Process(killed.pid).children()
    assert len(workers) == 2
    killed.kill()
    _, error = start(checkout, "stage1", before=OFFLINE).communicate(timeout=120)
    assert error == ""
    trained = "data/smoke/stage1/trained.safetensors"
    assert checkout.outputs()[trained] == with_stage1.outputs()[trained]
    assert len(list(checkout.state.glob("spool/stage1-*.jsonl"))) == 1  # it went on in the killed one's


def repro(root: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "dvc", "repro", "-s", "-f", "stage1"],
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )

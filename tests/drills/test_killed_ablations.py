"""A family of ablations on the smoke profile, killed in the middle of a stage: the same command goes on."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.pipeline.test_smoke import Clone
from tinygptv.tracking.client import Tracking

ROOT = Path(__file__).resolve().parents[2]
CODE = ("src", "flows", "configs", "benchmarks", "dvc.yaml")
VARIANTS = ["full", "without LoRA"]
LONGEST = 600.0
STATE = re.compile(r"^(\w+) +(Completed|Cached|UpToDate) ", re.MULTILINE)


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    """The present code, in which nothing has run."""
    root = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(root)], check=True)
    for name in CODE:
        shutil.rmtree(root / name) if (root / name).is_dir() else (root / name).unlink()
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, root / name)
    made = Clone(root)
    made.env["PYTHONPATH"] = str(root / "src")
    made.edit("params.yaml", "profile: tiny", "profile: smoke")
    made.commit()
    return made


def wait_until(true) -> None:
    end = time.monotonic() + LONGEST
    while not true():
        assert time.monotonic() < end
        time.sleep(0.2)


def alive(root: Path) -> bool:
    """Whether any process works in the clone."""
    return any(
        str(root) in " ".join((process.info["cwd"] or "", *(process.info["cmdline"] or ())))
        for process in psutil.process_iter(["cwd", "cmdline"])
    )


@pytest.mark.drills
def test_a_killed_family_goes_on_and_what_is_finished_is_not_trained_again(clone: Clone, tmp_path: Path) -> None:
    program = clone.root / "benchmarks" / "ablations.py"
    command = [sys.executable, program, *VARIANTS]
    with (tmp_path / "said.txt").open("w") as said:
        process = subprocess.Popen(command, cwd=clone.root, env=clone.env, stdout=said, stderr=subprocess.STDOUT)
        wait_until(lambda: "\nstage2\n" in (tmp_path / "said.txt").read_text())
        process.kill()
        process.wait()
    wait_until(lambda: not alive(clone.root))  # nothing outlives it
    results = clone.root / "benchmarks" / "results" / "ablations-smoke.json"
    assert not results.exists()

    def again() -> str:
        done = subprocess.run(command, cwd=clone.root, env=clone.env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    tables = [dict(STATE.findall(part)) for part in again().split("\nstep ")[1:]]
    assert (tables[0]["stage1"], tables[0]["stage2"]) == ("Cached", "Completed")
    assert (tables[1]["stage1"], tables[1]["stage2"]) == ("Cached", "Completed")  # LoRA begins in stage 2
    trained = json.loads(results.read_text())["trained"]
    assert [one["variant"] for one in trained] == VARIANTS
    assert "\nstep " not in again()
    assert json.loads(results.read_text())["trained"] == trained

    tracking = Tracking.connect(clone.root)
    runs = tracking.mlflow.search_runs([tracking.experiment("smoke")])
    names = {run.info.run_id: run.info.run_name for run in runs}
    below = {run.info.run_name: names.get(run.data.tags.get("mlflow.parentRunId", "")) for run in runs}
    assert below["full, seed 7"] == below["without LoRA, seed 7"] == "ablations tiny"
    parents = [names.get(run.data.tags["mlflow.parentRunId"]) for run in runs if "pipeline.id" in run.data.tags]
    assert sorted(parents) == ["full, seed 7", "full, seed 7", "without LoRA, seed 7"]

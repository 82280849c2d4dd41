"""A package is asked and the process is killed: the next one goes on with the block that is missing."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.serving.helpers import strong_model
from tinygptv.config.profiles import read_config
from tinygptv.evaluation import asking
from tinygptv.evaluation.package import PackageJob, answer_all, answers_of
from tinygptv.ground.files import read_json
from tinygptv.model.int8 import save_quantized

ROOT = Path(__file__).resolve().parents[2]
BLOCK = 8
PROGRAM = """
import sys
from pathlib import Path
from tests.drills import test_killed_answers
from tinygptv.evaluation import asking
from tinygptv.evaluation.package import answer_all

if __name__ == "__main__":
    asking.BLOCK = test_killed_answers.BLOCK
    answer_all(test_killed_answers.job_of(Path(sys.argv[1]), Path(sys.argv[2])))
"""


def job_of(root, shards):
    """Small passes on one thread, which takes a while."""
    smoke = read_config(ROOT / "configs" / "smoke.yaml")
    changes = {
        "runtime": smoke.runtime.model_copy(update={"threads": 1, "deterministic": False}),
        "quantize": smoke.quantize.model_copy(update={"batch_size": 4}),
    }
    return PackageJob(
        config=smoke.model_copy(update=changes),
        seed=7,
        shards=shards,
        package=root / "model",
        store=root / "answers",
        asker="test",
        measured=root / "measured.json",
    )


@pytest.fixture
def job(small_shards, make_model, processor, tmp_path, monkeypatch):
    monkeypatch.setattr(asking, "BLOCK", BLOCK)
    (tmp_path / "model").mkdir()
    save_quantized(
        strong_model(make_model(seed=4), processor, seed=4), tmp_path / "model", outlier_threshold=0.0, max_new_tokens=4
    )
    return job_of(tmp_path, small_shards)


def finished(job):
    return [path for path in job.store.glob("*/*.json") if path.parent.name != "askers"]


def killed_at(job, blocks):
    """Start a process that asks, and kill it once so many blocks are there, or at its end."""
    program = job.store.parent / "program.py"
    program.write_text(PROGRAM)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, program, job.store.parent, job.shards], cwd=ROOT, env=environment)
    while len(finished(job)) < blocks and process.poll() is None:
        time.sleep(0.001)
    process.kill()
    process.wait()


def drill(job, trials, seed):
    """Kill it once or twice in each trial; how many blocks were found again in all."""
    source, found_again = random.Random(seed), 0
    elsewhere = replace(job, store=job.store.with_name("undisturbed"))
    answer_all(elsewhere)
    expected, whole = list(answers_of(elsewhere)), len(finished(elsewhere))
    assert whole > 10 and len({answer.text for _, answer in expected}) > 3
    for _ in range(trials):
        for path in finished(job):
            path.unlink()
        for at in sorted(source.sample(range(1, whole - 4), source.choice((1, 2)))):
            killed_at(job, at)
        there = {path: path.stat().st_mtime_ns for path in finished(job)}
        assert 0 < len(there) < whole
        answer_all(job)
        assert list(answers_of(job)) == expected
        assert there.items() <= {path: path.stat().st_mtime_ns for path in finished(job)}.items()
        assert "questions_per_second" in read_json(job.measured)
        found_again += len(there)
    return found_again


@pytest.mark.drill(2, "SIGKILL while a package is asked: blocks of answers are found again", trials=1)
def test_a_killed_asker_goes_on_where_it_was(job):
    assert drill(job, 1, seed=3) > 1


@pytest.mark.drill(2, "SIGKILL while a package is asked: blocks of answers are found again", trials=8)
@pytest.mark.drills
def test_an_asker_killed_again_and_again(job):
    assert drill(job, 8, seed=4) > 8

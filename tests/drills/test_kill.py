"""Stages stopped at random instants: a few in every run, hundreds in ``make drills``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def kill(*arguments: object) -> str:
    """Run the command; it must pass. Nothing is forked from the tests' own process, which has threads."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.drills.kill", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "PASS" in done.stdout
    return done.stdout


@pytest.mark.drill(1, "SIGKILL at random instants of a stage", trials=2)
def test_a_stage_that_is_killed_ends_with_the_same_bytes(with_stage1):
    kill("--trials", 2, "--seed", 5, "--stage", "stage1", "--checkout", with_stage1.root)


@pytest.mark.drills
@pytest.mark.drill(1, "SIGKILL at random instants of a stage", trials=200)
def test_a_stage_that_is_killed_often_ends_with_the_same_bytes():
    kill("--trials", 200, "--seed", 1)


@pytest.mark.drills
@pytest.mark.drill(1, "SIGKILL at random instants of a stage whose blocks are traced", trials=30)
def test_a_stage_of_traced_blocks_ends_with_the_same_bytes():
    kill("--trials", 30, "--seed", 6, "--compiled", "eager")


@pytest.mark.drills
@pytest.mark.drill(1, "SIGKILL at random instants of a stage whose blocks are compiled", trials=5)
def test_a_stage_of_compiled_blocks_ends_with_the_same_bytes():
    """With what a killed compiler left."""
    kill("--trials", 5, "--seed", 7, "--compiled", "inductor")


@pytest.mark.drills
@pytest.mark.drill(1, "SIGKILL at random bytes of a checkpoint", trials=200)
def test_a_checkpoint_that_is_cut_anywhere():
    kill("--trials", 200, "--seed", 2, "--place", "checkpoint")


@pytest.mark.drills
@pytest.mark.drill(3, "SIGTERM at random instants, and again while it saves", trials=50)
def test_a_stage_that_is_asked_to_stop_anywhere():
    kill("--trials", 50, "--seed", 3, "--signal", "TERM")


@pytest.mark.drills
@pytest.mark.drill(2, "SIGKILL at random instants of the whole smoke pipeline", trials=20)
def test_a_pipeline_that_is_killed_ends_with_the_same_digests_and_is_counted_once():
    kill("--what", "pipeline", "--trials", 20, "--seed", 4, "--keep-going")


@pytest.mark.drills
@pytest.mark.drill(
    1, "SIGKILL at random instants of random processes that share a stage, whose number changes", trials=13
)
def test_a_shared_stage_that_is_killed_ends_with_the_bytes_of_one_process():
    kill("--what", "shared", "--trials", 13, "--seed", 8)

"""Blocks on a cluster that a process has of its own: as in processes beside it, and it ends with the process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import psutil
import pytest

from tests.data.test_pool import prepare_failing, prepare_square
from tinygptv.data.pool import map_blocks
from tinygptv.ground.crew import Crew
from tinygptv.ground.errors import DataError, PassingError, UserError
from tinygptv.ground.ray_cluster import facts, must_be_alike

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import sys
from tests.data.test_pool import prepare_asleep
from tinygptv.data.pool import map_blocks
from tinygptv.ground.crew import Crew
from tinygptv.ground.signals import StopRequest

if __name__ == "__main__":
    StopRequest.install()
    list(map_blocks(prepare_asleep, [sys.argv[1]] * 2, Crew(2, ray=True)))
"""


def test_a_machine_that_would_give_other_bits_is_refused():
    here = facts(gpu=False)
    must_be_alike(here, facts(gpu=False))
    with pytest.raises(UserError, match=r"a machine of the Ray cluster differs in .*torch.*; all need the same code"):
        must_be_alike(here, here | {"torch": "2.0"})


@pytest.mark.services
def test_jobs_are_done_once_and_what_one_fails_with_is_what_the_step_ends_with(capfd):
    crew = Crew(2, ray=True)
    results = list(map_blocks(prepare_square, iter(range(9)), crew))
    assert sorted(square for square, _ in results) == [number**2 for number in range(9)]
    assert os.getpid() not in {process for _, process in results} and len({process for _, process in results}) <= 2
    assert list(map_blocks(prepare_square, [], crew)) == []
    for how, kind, text in (
        ("record", DataError, "a-1: is damaged"),
        ("later", PassingError, "later"),
        ("kill", PassingError, "killed twice"),
        ("file", UserError, "/nowhere/at/all does not exist"),
        ("bug", RuntimeError, "traceback is above"),
    ):
        with pytest.raises(kind, match=text):
            list(map_blocks(partial(prepare_failing, how), range(5), crew))
    assert "ValueError: a bug" in capfd.readouterr().err


@pytest.mark.services
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_the_cluster_ends_with_the_step(tmp_path, number):
    program, folder = tmp_path / "program.py", tmp_path / "started"
    program.write_text(PROGRAM)
    folder.mkdir()
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen([sys.executable, program, folder], cwd=ROOT, env=env, stderr=subprocess.DEVNULL)
    while len(list(folder.iterdir())) < 2:
        assert parent.poll() is None
        time.sleep(0.05)
    below = psutil.Process(parent.pid).children(recursive=True)
    assert len(below) > 3
    listening = {found.laddr.ip for child in below for found in child.net_connections() if found.status == "LISTEN"}
    assert listening <= {"127.0.0.1", "::ffff:127.0.0.1"}
    parent.send_signal(number)
    assert parent.wait(60) != 0
    assert psutil.wait_procs(below, timeout=120)[1] == []

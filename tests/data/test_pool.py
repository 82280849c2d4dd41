"""Blocks in processes: the same results for every number of them, and an end with the parent and with its errors."""

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

from tinygptv.data.pool import run_blocks
from tinygptv.data.record_rules import RecordError
from tinygptv.ground.errors import DataError, PassingError, RefusedError, UserError


def square(number):
    return number**2, os.getpid()


def prepare_square():
    return square


def failing(how, number):
    if number != 2:
        return number
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "file":
        Path("/nowhere/at/all").read_bytes()
    raise {"record": RecordError("is damaged", "a-1"), "later": PassingError("later"), "bug": ValueError("a bug")}[how]


def prepare_failing(how):
    return partial(failing, how)


def prepare_nothing():
    raise RefusedError("no model")


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_every_job_is_done_once(workers):
    results = list(run_blocks(prepare_square, iter(range(20)), workers))
    assert sorted(square for square, _ in results) == [number**2 for number in range(20)]
    processes = {process for _, process in results}
    assert (processes == {os.getpid()}) == (workers == 0)
    assert len(processes) <= max(workers, 1)
    assert not psutil.Process().children() or all(
        "tracker" in " ".join(p.cmdline()) for p in psutil.Process().children()
    )


def test_no_more_processes_than_jobs_and_none_without():
    assert list(run_blocks(prepare_square, [], 4)) == []
    assert len({process for _, process in run_blocks(prepare_square, [1, 2], 16)}) <= 2


def test_jobs_are_taken_when_a_process_is_free():
    taken = []
    results = run_blocks(prepare_square, (taken.append(n) or n for n in range(10)), 2)
    next(results)
    assert len(taken) <= 3
    results.close()


@pytest.mark.parametrize(
    ("how", "kind", "text"),
    [
        ("record", DataError, "a-1: is damaged"),
        ("later", PassingError, "later"),
        ("kill", PassingError, "killed from outside"),
        ("file", UserError, "/nowhere/at/all does not exist"),
        ("bug", RuntimeError, "traceback is above"),
    ],
)
def test_what_a_process_fails_with_is_what_the_step_ends_with(how, kind, text, capfd):
    with pytest.raises(kind, match=text) as caught:
        list(run_blocks(partial(prepare_failing, how), range(5), 2))
    assert type(caught.value) is kind
    assert ("ValueError: a bug" in capfd.readouterr().err) == (how == "bug")


@pytest.mark.parametrize("workers", [0, 2])
def test_what_cannot_be_prepared_is_told(workers):
    with pytest.raises(RefusedError, match="no model"):
        list(run_blocks(prepare_nothing, range(5), workers))


PARENT = """
import signal, sys, time
from tests.data.test_pool import prepare_asleep
from tinygptv.data.pool import run_blocks

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a suite in the background has it ignored
    list(run_blocks(prepare_asleep, [sys.argv[1]] * 2, 2))
"""


def sleep(folder):
    (Path(folder) / str(os.getpid())).touch()
    time.sleep(600)


def prepare_asleep():
    return sleep


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_processes_end_with_the_parent(tmp_path, number):
    """SIGINT goes to the whole group, as a terminal sends it; the processes say nothing about it."""
    program = tmp_path / "program.py"
    program.write_text(PARENT)
    folder = tmp_path / "started"
    folder.mkdir()
    root = Path(__file__).parents[2]
    parent = subprocess.Popen(
        [sys.executable, program, folder],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while len(list(folder.iterdir())) < 2:
        assert parent.poll() is None
        time.sleep(0.02)
    processes = [psutil.Process(int(path.name)) for path in folder.iterdir()]
    if number == signal.SIGINT:
        os.killpg(parent.pid, number)
    else:
        parent.send_signal(number)
    error = parent.communicate()[1]
    psutil.wait_procs(processes, timeout=20)
    assert not any(process.is_running() for process in processes)
    assert error.count("Traceback") == (number == signal.SIGINT)

"""Programs that start and end fast."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import atexit, gc
from tinygptv.ground import startup
generations = []
gc.callbacks.append(lambda phase, info: generations.append(info["generation"]))
{call}
objects = [[] for _ in range(80_000)]
atexit.register(lambda: print(len(generations)))
"""


def collections(call: str) -> int:
    done = subprocess.run([sys.executable, "-c", PROGRAM.format(call=call)], capture_output=True, text=True, check=True)
    return int(done.stdout)


def test_the_collector_does_not_look_at_what_imports_make() -> None:
    assert collections("") > 50
    assert collections("startup.spare_collector()") == 0


def test_the_end_does_not_look_either() -> None:
    """What is frozen is not walked over when the interpreter ends; exit handlers run from the last to the first."""
    program = (
        "import atexit, gc\nfrom tinygptv.ground.startup import spare_collector\n"
        "atexit.register(lambda: print(gc.get_freeze_count()))\n{call}"
    )
    counts = []
    for call in ("", "spare_collector()"):
        command = [sys.executable, "-c", program.format(call=call)]
        counts.append(int(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    assert counts[0] == 0 and counts[1] > 1000


@pytest.mark.parametrize("module", ["tinygptv.steps.__main__", "tinygptv.cli"])
@pytest.mark.parametrize(
    ("given", "told"),
    [({}, "10000 None"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "None ACTIVE"), ({"GOMP_SPINCOUNT": "5"}, "5 None")],
)
def test_threads_wait_briefly_unless_the_caller_says_otherwise(module: str, given: dict[str, str], told: str) -> None:
    """OpenMP reads the environment when torch is imported, so that must not have happened yet."""
    program = (
        f"import os, sys, {module}\nassert 'torch' not in sys.modules\n"
        "from tinygptv.ground.startup import begin\nbegin()\n"
        "print(os.environ.get('GOMP_SPINCOUNT'), os.environ.get('OMP_WAIT_POLICY'))"
    )
    env = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=env | given, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == told


TALKER = """
import os, subprocess, sys, time
from tinygptv.ground import startup
{call}
while not os.path.exists("gone"):
    time.sleep(0.01)
for stream in (sys.stdout, sys.stderr):
    for _ in range(3):
        print("a line of the work", file=stream, flush=True)
subprocess.run([sys.executable, "-c", "print('a child speaks', flush=True)"], check=True)
open("finished", "w").close()
"""
CALL = "startup.outlive_readers()"


def talk(folder: Path, handle: int, call: str = CALL, **env: str) -> subprocess.Popen[bytes]:
    """A program that goes on to print when the file ``gone`` is there."""
    command = [sys.executable, "-c", TALKER.format(call=call)]
    return subprocess.Popen(command, cwd=folder, stdout=handle, stderr=handle, env={**os.environ, **env})


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("ends", [os.pipe, os.openpty], ids=["pipe", "terminal"])
def test_work_goes_on_when_nobody_reads_its_lines_any_more(tmp_path, ends, unbuffered) -> None:
    reading, writing = ends()
    program = talk(tmp_path, writing, PYTHONUNBUFFERED=unbuffered)
    os.close(writing)
    os.close(reading)
    (tmp_path / "gone").touch()
    assert program.wait(60) == 0
    assert (tmp_path / "finished").exists()


def test_lines_that_are_read_arrive_in_their_order(tmp_path) -> None:
    reading, writing = os.pipe()
    program = talk(tmp_path, writing)
    os.close(writing)
    (tmp_path / "gone").touch()
    with os.fdopen(reading) as pipe:
        assert pipe.read() == "a line of the work\n" * 6 + "a child speaks\n"
    assert program.wait(60) == 0


def test_a_disk_that_is_full_is_still_an_error(tmp_path) -> None:
    with Path("/dev/full").open("wb") as full:
        program = talk(tmp_path, full.fileno())
    (tmp_path / "gone").touch()
    assert program.wait(60) != 0

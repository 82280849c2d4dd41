"""One of the processes that make blocks is killed: the step ends well, and with the bytes of one process."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Collection
from contextlib import suppress

import psutil
import pytest

from tests.drills.test_killed_answers import PROGRAM as ANSWERS
from tests.drills.test_killed_answers import ROOT, finished, job  # noqa: F401 (a fixture)
from tests.drills.test_killed_features import clear, notes
from tests.drills.test_killed_features import start as start_features
from tests.steps.sets import make_sets

CREWS = [
    *(pytest.param({"TINYGPTV_PROCESSES": count}, "spawn_main", marks=pytest.mark.drills) for count in ("2", "4")),
    pytest.param({"TINYGPTV_PROCESSES": "2", "TINYGPTV_RUNNER": "ray"}, "ray::BlockMaker", marks=pytest.mark.services),
]
DRILL = pytest.mark.drill(1, "SIGKILL of one of the processes that make blocks, also on a Ray cluster", trials=1)


def kill_one(process: subprocess.Popen[bytes], name: str, made: Callable[[], Collection[object]]) -> None:
    """Kill one of its processes once something is made, and wait for a good end."""
    killed = False
    while process.poll() is None:
        with suppress(psutil.Error, FileNotFoundError):  # what has just ended, or moved
            below = psutil.Process(process.pid).children(recursive=True) if not killed and made() else []
            if victims := [child for child in below if name in " ".join(child.cmdline())]:
                victims[0].kill()
                killed = True
        time.sleep(0.01)
    assert killed and process.returncode == 0


@DRILL
@pytest.mark.parametrize(("environment", "name"), CREWS)
def test_features(tmp_path, monkeypatch, environment, name):
    sets = make_sets(tmp_path / "sets")
    assert start_features(sets).wait() == 0
    expected = sets.features()
    clear(sets)
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    kill_one(start_features(sets), name, lambda: notes(sets))
    assert sets.features() == expected


@DRILL
@pytest.mark.parametrize(("environment", "name"), CREWS)
def test_answers(job, monkeypatch, environment, name):  # noqa: F811
    def start() -> subprocess.Popen[bytes]:
        program = job.store.parent / "program.py"
        program.write_text(f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n{ANSWERS}")
        return subprocess.Popen([sys.executable, program, job.store.parent, job.shards], cwd=ROOT)

    assert start().wait() == 0
    expected = {path: path.read_bytes() for path in finished(job)}
    assert len(expected) > 10
    for path in expected:
        path.unlink()
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    kill_one(start(), name, lambda: finished(job))
    assert {path: path.read_bytes() for path in finished(job)} == expected

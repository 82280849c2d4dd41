"""``features`` killed, with its processes, at random times: a tar a process is lost at most, and no byte changes."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.drills.instants import kill_alone
from tests.steps.sets import Sets, make_sets
from tinygptv.data.blocks import NOTE

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import sys
from pathlib import Path

import pytest

from tests.checkouts import run_step

if __name__ == "__main__":
    sys.exit(run_step(Path(sys.argv[1]), "features", pytest.MonkeyPatch()))
"""


def start(sets: Sets) -> subprocess.Popen[bytes]:
    program = sets.root / "program.py"
    program.write_text(PROGRAM.replace("import sys", f"import sys\nsys.path.insert(0, {str(ROOT)!r})", 1))
    return subprocess.Popen([sys.executable, program, sets.root], cwd=ROOT, stdout=subprocess.DEVNULL)


def clear(sets: Sets) -> None:
    for folder in (sets.data / "features", sets.state):
        shutil.rmtree(folder, ignore_errors=True)


def notes(sets: Sets) -> dict[Path, int]:
    """The finished blocks, and when each was finished."""
    return {path: path.stat().st_mtime_ns for path in (sets.state / "blocks").rglob(f"*{NOTE}")}


def drill(root: Path, trials: int, seed: int, workers: int) -> int:
    """Kill it once or twice in each trial; how many finished blocks were found again in all."""
    source, found_again, sets = random.Random(seed), 0, make_sets(root)
    began = time.monotonic()
    assert start(sets).wait() == 0  # in this process
    expected = sets.features()
    sets.edit("workers: 0", f"workers: {workers}")
    seconds = time.monotonic() - began
    for _ in range(trials):
        clear(sets)
        for _ in range(source.choice((1, 2))):
            before, process = notes(sets), start(sets)
            time.sleep(source.uniform(0.4, 1.6) * seconds)
            kill_alone(process)
            half_made = {path.stem for path in (sets.state / "blocks").rglob(".new/*/*/*")}
            assert len(half_made) <= max(workers, 1)
            assert before.items() <= notes(sets).items(), "what was finished is not made again"
            found_again += len(notes(sets))
        assert start(sets).wait() == 0
        assert sets.features() == expected
        assert not list(sets.state.rglob(".new"))
    return found_again


@pytest.mark.drills
@pytest.mark.drill(1, "SIGKILL at random times of features", trials=5)
def test_features_that_is_killed_ends_with_the_same_bytes(tmp_path: Path) -> None:
    drill(tmp_path / "sets", 5, 7, workers=0)


@pytest.mark.drills
@pytest.mark.drill(1, "SIGKILL at random times of features with two processes", trials=20)
def test_features_that_is_killed_often_ends_with_the_same_bytes(tmp_path: Path) -> None:
    assert drill(tmp_path / "sets", 20, 8, workers=2) > 0

"""``shards`` killed with its processes at random times: one block a process is lost at most, and no byte changes."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.data import made
from tests.data.made import made_form  # noqa: F401 (a fixture)
from tests.drills.instants import kill_alone
from tinygptv.config import Loader
from tinygptv.config.profiles import read_config
from tinygptv.data.blocks import NOTE

ROOT = Path(__file__).resolve().parents[2]
IMAGES, WORKERS = 300, 2
PROGRAM = """
import sys
from pathlib import Path
from tests.drills.test_killed_blocks import prepared
from tests.data.made import register, run

if __name__ == "__main__":
    register()
    run(prepared(Path(sys.argv[1])))
"""


def prepared(root, workers=WORKERS):
    """The step's context on pictures that take a while."""
    files = (
        {f"{n}.png": made.picture(n, size=(300, 200)) for n in range(IMAGES)} if not (root / "cats").exists() else {}
    )
    rows = [{"id": str(n), "image": f"{n}.png", "texts": [["what?", f"number {n}"]]} for n in range(IMAGES)]
    settings = made.write_set(root, "cats", rows, files)
    context = made.context(root, read_config(ROOT / "configs" / "smoke.yaml"), {"cats": settings}, images_per_shard=8)
    context.config = context.config.model_copy(update={"loader": Loader(workers=workers, prefetch=2)})
    return context


def start(root):
    program = root / "program.py"
    program.write_text(PROGRAM)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, program, root], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)


def clear(root, *names):
    for name in names:
        shutil.rmtree(root / name, ignore_errors=True)


def notes(root):
    return {path: path.stat().st_mtime_ns for path in (root / "blocks" / "cats").glob(f"*{NOTE}")}


def drill(root, trials, seed):
    """Kill it once or twice in each trial; how many finished blocks it found again in all."""
    source, found_again = random.Random(seed), 0
    expected = made.run(prepared(root, workers=0))
    clear(root, "out", "state", "blocks")
    began = time.monotonic()
    assert start(root).wait() == 0
    seconds = time.monotonic() - began
    assert made.outputs(root / "out") == expected
    for _ in range(trials):
        clear(root, "out", "state", "blocks")
        for _ in range(source.choice((1, 2))):
            before, process = notes(root), start(root)
            time.sleep(source.uniform(0.2, 1.0) * seconds)
            kill_alone(process)
            half_made = [path for path in (root / "blocks" / ".new").glob("*/*") if path.is_dir()]
            assert len(half_made) <= WORKERS
            assert before.items() <= notes(root).items()
            found_again += len(notes(root))
            clear(root, "out")
        assert start(root).wait() == 0
        assert made.outputs(root / "out") == expected
        assert not (root / "blocks" / ".new").exists()
    return found_again


@pytest.mark.drills
@pytest.mark.drill(1, "SIGKILL at random times of shards with two processes", trials=20)
def test_shards_that_is_killed_often_ends_with_the_same_bytes(tmp_path):
    assert drill(tmp_path, 20, 6) > 0

"""Programs that start and end fast."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import atexit, gc
from tinygptv import startup
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
        "import atexit, gc\nfrom tinygptv.startup import spare_collector\n"
        "atexit.register(lambda: print(gc.get_freeze_count()))\n{call}"
    )
    counts = []
    for call in ("", "spare_collector()"):
        command = [sys.executable, "-c", program.format(call=call)]
        counts.append(int(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    assert counts[0] == 0 and counts[1] > 1000

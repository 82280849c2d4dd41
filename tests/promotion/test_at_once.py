"""Eight promotions at the same moment: one works, seven name it and leave, and the alias never names a part."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from tests.promotion.worlds import PAUSE, ROOT

AT_ONCE = 8
PROGRAM = """
import sys
from pathlib import Path
from tests.promotion.worlds import examine, profile_of
from tinygptv.errors import UserError
from tinygptv.promotion.promote import promote
import mlflow, dvc_data.hashfile.tree  # all of them are ready when the first begins
print("ready", flush=True)
sys.stdin.readline()
try:
    done = promote(Path(sys.argv[1]), profile_of(sys.argv[2]), sys.argv[3], examine)
except UserError as error:
    print(error, file=sys.stderr)
    sys.exit(2)
print(done.line())
sys.exit(1 if done.refused else 0)
"""


@pytest.mark.pipeline
@pytest.mark.drill(31, "eight promotions at once: one works, the others name it", trials=AT_ONCE)
def test_exactly_one_wins(world, monkeypatch):
    versions = ["3"]
    for number in range(1, AT_ONCE):
        versions.append(world.refused(92 + number, told={"value": 0.0}))
        world.tell_the_truth(versions[-1], 92 + number)
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{ROOT / 'src'}")
    monkeypatch.setenv(PAUSE, "10")
    command = [sys.executable, "-c", PROGRAM, str(world.root), world.name]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen([*command, version], **pipes) for version in versions]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    complete = set()
    while any(process.poll() is None for process in processes):
        champion = world.alias("champion")
        complete.add((champion, world.tags(champion)["gate.passed"]))
        time.sleep(0.2)
    ended = {process: (*process.communicate(), process.returncode) for process in processes}
    (winner,) = (process for process, (_, _, code) in ended.items() if code == 0)
    version = versions[processes.index(winner)]
    assert ended.pop(winner)[0] == f"{world.name} version {version} is champion; version 1 is previous\n"
    for _, error, code in ended.values():
        assert code == 2
        assert error == (
            f"a promotion of {world.name} runs already (PID {winner.pid}); wait for it, or stop it with "
            f"`kill {winner.pid}`\n"
        )
    assert (world.alias("champion"), world.alias("previous")) == (version, "1")
    assert complete <= {("1", "true"), (version, "true")}

"""Eight promotions at the same moment: one works, seven leave and say why, and the alias never names a part."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.drills.mlflow_server import mlflow_server
from tests.promotion.worlds import PAUSE, ROOT, World, make_duel, make_root
from tinygptv.tracking.client import Tracking

AT_ONCE = 8
PROGRAM = """
import os, sys, time
from pathlib import Path
from tests.promotion.worlds import examine, profile_of
from tinygptv.ground.errors import UserError
from tinygptv.promotion import promote
import mlflow, dvc_data.hashfile.tree  # all of them are ready when the first begins
root, model, version, there, count = Path(sys.argv[1]), sys.argv[2], sys.argv[3], Path(sys.argv[4]), int(sys.argv[5])
make_champion = promote.make_champion
def make_champion_together(*arguments):
    (there / version).touch()
    while len(os.listdir(there)) < count:
        time.sleep(0.001)
    make_champion(*arguments)
promote.make_champion = make_champion_together
print("ready", flush=True)
sys.stdin.readline()
try:
    done = promote.promote(root, profile_of(model), version, examine)
except UserError as error:
    print(error, file=sys.stderr)
    sys.exit(2)
print(done.line())
sys.exit(1 if done.refused else 0)
"""
"""Promote a version; whoever passed the gate waits for as many others before the aliases move."""


def challengers(world: World) -> list[str]:
    """Eight versions, each better than the champion."""
    versions = ["3"]
    for number in range(1, AT_ONCE):
        versions.append(world.refused(92 + number, told={"value": 0.0}))
        world.tell_the_truth(versions[-1], 92 + number)
    return versions


def promote_at_once(
    world: World, versions: Sequence[str], roots: Sequence[Path], meeting: int
) -> tuple[str, int, list[str]]:
    """Promote each version in its checkout; the winner, its PID, and what the others said.

    As many as meet pass the gate and move the aliases in the same instant. Until the last has ended, the champion is
    looked at again and again: it is always a version that passed.
    """
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    env = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}", PAUSE: "10"}
    there = world.root.parent / "passed"
    there.mkdir()
    last = (str(there), str(meeting))
    processes = [
        subprocess.Popen([sys.executable, "-c", PROGRAM, str(root), world.name, version, *last], env=env, **pipes)
        for root, version in zip(roots, versions, strict=True)
    ]
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
    assert sorted(code for _, _, code in ended.values()) == [0] + [2] * (len(processes) - 1), ended.values()
    (winner,) = (process for process, (_, _, code) in ended.items() if code == 0)
    version = versions[processes.index(winner)]
    assert ended.pop(winner)[0] == f"{world.name} version {version} is champion; version 1 is previous\n"
    assert (world.alias("champion"), world.alias("previous")) == (version, "1")
    assert complete <= {("1", "true"), (version, "true")}
    return version, winner.pid, [error for _, error, _ in ended.values()]


@pytest.mark.pipeline
@pytest.mark.drill(31, "eight promotions at once: one works, the others name it", trials=AT_ONCE)
def test_exactly_one_wins(world):
    versions = challengers(world)
    _, pid, errors = promote_at_once(world, versions, [world.root] * AT_ONCE, meeting=1)
    line = f"a promotion of {world.name} runs already (PID {pid}); wait for it, or stop it with `kill {pid}`\n"
    assert errors == [line] * (AT_ONCE - 1)


@pytest.mark.pipeline
@pytest.mark.drill(31, "eight promotions at once, from eight checkouts on one server: one wins", trials=AT_ONCE)
def test_exactly_one_of_eight_checkouts_wins(small_shards, tmp_path, monkeypatch):
    root = make_root(tmp_path / "checkout", small_shards)
    with mlflow_server(tmp_path) as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
        world = make_duel(root, Tracking.connect(root))
        versions = challengers(world)
        roots = [shutil.copytree(root, tmp_path / version) for version in versions]
        version, _, errors = promote_at_once(world, versions, roots, meeting=AT_ONCE)
        line = f"the champion of {world.name} changed meanwhile, from version 1 to version {version}; "
        assert errors == [f"{line}run the command again to compare with that one\n"] * (AT_ONCE - 1)
        assert [model.name for model in world.client.search_registered_models()] == [world.name]

"""Steps in forked processes: everything is imported once, so that an attempt costs what the step itself costs.

The process that imports this must not compute with torch before it forks: threads do not survive a fork.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import pytest

from tests import checkouts
from tests.drills.instants import Watch
from tinygptv.ground.names import STAGES
from tinygptv.ground.runtime import quiet_libraries

LONGEST_S = 120.0
IMPORTED_LATE = (
    "dvc_data.hashfile.tree",
    "peft",
    "ruamel.yaml",
    "transformers.models.phi.modeling_phi",
    "tinygptv.steps.features",
    "tinygptv.steps.shards",
    "tinygptv.steps.train",
    "tinygptv.data.batches",
    "tinygptv.data.features",
    "tinygptv.data.loading",
    "tinygptv.model.adapters",
    "tinygptv.model.assembly",
    "tinygptv.model.stage_checkpoint",
    "tinygptv.model.weights",
    "tinygptv.model.int8",
    "tinygptv.model.processing",
    "tinygptv.planning.plan",
    "tinygptv.pretraining.standins",
    "tinygptv.tracking.facts",
    "tinygptv.training.resume",
)
"""Modules that steps import while they run."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a forked process ended."""

    code: int
    """Its exit code; minus the signal's number if a signal ended it."""
    seconds: float
    log: str
    """What it printed."""

    @property
    def killed(self) -> bool:
        """Whether it was killed before its own end."""
        return self.code == -signal.SIGKILL


def import_all() -> None:
    """Import all that a stage, and the making of a small checkout for it, import while they run."""
    quiet_libraries()
    for name in IMPORTED_LATE:
        import_module(name)


def forked(work: Callable[[], int], log: Path, signals: Sequence[tuple[float, int]] = ()) -> Ended:
    """Run ``work`` in a forked process; its result is the exit code.

    Args:
        work: what to do.
        log: where its output goes.
        signals: (seconds after the one before, signal) to send, in turn.

    Raises:
        TimeoutError: it does not end.
    """
    return await_end(fork(work, log), log, signals)


def fork(work: Callable[[], int], log: Path) -> tuple[int, float]:
    """Begin ``work`` in a forked process, as of ``forked``: its number, and when it began."""
    sys.stdout.flush()
    sys.stderr.flush()
    started = time.monotonic()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
            os.dup2(handle, 1)
            os.dup2(handle, 2)
            code = work()
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    return pid, started


def await_end(child: tuple[int, float], log: Path, signals: Sequence[tuple[float, int]] = ()) -> Ended:
    """How a process ends that ``fork`` began; arguments and errors as of ``forked``."""
    pid, started = child
    handle = os.pidfd_open(pid)
    for wait, number in (*signals, (LONGEST_S, signal.SIGKILL)):
        if select.select([handle], [], [], wait)[0]:
            break
        os.kill(pid, number)
    late = time.monotonic() - started > LONGEST_S
    os.close(handle)
    _, status = os.waitpid(pid, 0)
    if late:
        raise TimeoutError(f"a step did not end in {LONGEST_S:.0f} s; see {log}")
    seconds = time.monotonic() - started
    return Ended(os.waitstatus_to_exitcode(status), seconds, log.read_text(errors="replace"))


def run_step(
    root: Path, step: str, log: Path, *, watch: Watch | None = None, signals: Sequence[tuple[float, int]] = ()
) -> Ended:
    """Run a step of a checkout, with a signal at an instant or after some seconds."""

    def work() -> int:
        if watch is not None:
            watch.install()
        return checkouts.run_step(root, step, pytest.MonkeyPatch())

    return forked(work, log, signals)


def count_events(root: Path, step: str, log: Path, *, compiled: bool = False) -> tuple[Ended, dict[str, int]]:
    """Run a step to its end and count what happens at each place."""
    counts = log.with_suffix(".counts")

    def work() -> int:
        watch = Watch(root, compiled=compiled)
        watch.install()
        code = checkouts.run_step(root, step, pytest.MonkeyPatch())
        counts.write_text(json.dumps(watch.counts))
        return code

    ended = forked(work, log)
    if ended.code:
        raise RuntimeError(f"{step} ended with {ended.code} in an uninterrupted run: {ended.log}")
    return ended, json.loads(counts.read_text())


def make_checkout(folder: Path, stage: str) -> checkouts.Checkout:
    """A small checkout in which everything before ``stage`` has run, and a point is written every second step."""
    made = checkouts.Checkout(folder / "checkout")

    def work() -> int:
        patches = pytest.MonkeyPatch()
        shards = checkouts.make_shards(folder / "shards", patches)
        shards.edit("checkpoint_every: 4", "checkpoint_every: 2")
        checkouts.make_stage1(made.root, shards, patches)
        earlier = STAGES[1 : STAGES.index(stage)]
        return max((checkouts.run_step(made.root, step, patches) for step in earlier), default=0)

    ended = forked(work, folder / "make.log")
    if ended.code:
        raise RuntimeError(f"the checkout could not be made: {ended.log}")
    return made

"""SIGKILL at random instants of random processes that share a stage, each time with another number of them.

A trial starts the stage with four processes, then two, three and one, of which one is killed each time, and lets four
come to the end: the bytes and the records of one process that nobody disturbed.
"""

from __future__ import annotations

import random
import signal
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.checkouts import Checkout, run_step
from tests.drills import aftermath, zygote
from tests.drills.instants import COMPUTING, PLACES, Instant, Watch
from tests.groups import group
from tinygptv.ground.errors import EXIT_PASSING

STAGE = "stage2"
SIZES = (4, 2, 3, 1)
"""Of the groups that are killed, one after the other."""
LAST = 4


@dataclass(slots=True)
class SharedDrill:
    """A stage of five micro-batches a step, and what an undisturbed process makes of it."""

    checkout: Checkout
    files: dict[str, str]
    metrics: dict[tuple[str, int], float]
    counts: dict[str, int]
    """Events of an undisturbed process by place."""
    seconds: float
    stops: Counter[str] = field(default_factory=Counter)
    unreached: int = 0

    def trial(self, source: random.Random) -> list[str]:
        """Kill four groups and let a fifth end; what was wrong, in words."""
        aftermath.clear(self.checkout, STAGE)
        wrong: list[str] = []
        for size in SIZES:
            before = aftermath.newest_point(self.checkout, STAGE)
            ended, victim, place = self._killed(source, size)
            if all(each.code == 0 for each in ended):
                self.unreached += 1
                return wrong + aftermath.final(self.checkout, STAGE, self.files, self.metrics)
            self.stops[place if victim else f"{place}, main"] += 1
            others = [each for rank, each in enumerate(ended) if rank != victim]
            if not ended[victim].killed or {each.code for each in others} - {EXIT_PASSING, 0}:
                wrong.append(f"codes {[each.code for each in ended]}: {''.join(each.log for each in ended)}")
            if sum(each.log.count("another process of this step has ended") for each in others) > 1:
                wrong.append(f"more than one line of failure: {''.join(each.log for each in others)}")
            newest = aftermath.newest_point(self.checkout, STAGE)
            wrong += aftermath.half_done(self.checkout, STAGE, self.files, before, newest)
        before = aftermath.newest_point(self.checkout, STAGE)
        ended = group(LAST, self._run)
        told = "".join(each.log for each in ended)
        if {each.code for each in ended} != {0}:
            wrong.append(f"the last group ended with {[each.code for each in ended]}: {told}")
        if before and f"{STAGE}: going on after step {before}\n" not in told:
            wrong.append(f"the newest point, of step {before}, was not used: {told}")
        return wrong + aftermath.final(self.checkout, STAGE, self.files, self.metrics)

    def _run(self, _: int) -> int:
        return run_step(self.checkout.root, STAGE, pytest.MonkeyPatch())

    def _killed(self, source: random.Random, size: int) -> tuple[list[zygote.Ended], int, str]:
        """A group of which one is killed; its rank, and where it was."""
        victim = source.randrange(size)
        place = source.choice(("time", *(PLACES if victim == 0 else COMPUTING)))
        if place == "time":
            at = source.uniform(0, self.seconds)
            return group(size, self._run, (victim, at, signal.SIGKILL)), victim, place
        count = self.counts[place] // (size if place in COMPUTING else 1)
        watch = Watch(self.checkout.root, Instant(place, source.randrange(max(1, count)), source.random()))

        def run(rank: int) -> int:
            if rank == victim:
                watch.install()
            return self._run(rank)

        return group(size, run), victim, place


def prepare(folder: Path) -> SharedDrill:
    """A drill, ready for its trials.

    Raises:
        RuntimeError: the undisturbed stage fails.
    """
    zygote.import_all()
    made = zygote.make_checkout(folder, STAGE)
    made.edit("batch_size: 8", "batch_size: 5")
    made.edit("micro_batch_size: 4", "micro_batch_size: 1")
    ended, counts = zygote.count_events(made.root, STAGE, folder / "undisturbed.log")
    files, metrics = aftermath.results(made, STAGE), aftermath.metrics(made, STAGE)
    return SharedDrill(made, files, metrics, counts, ended.seconds)


def kill_shared(trials: int, seed: int, folder: Path, *, keep_going: bool) -> tuple[SharedDrill, int, int]:
    """Make the trials.

    Returns:
        The drill, how many trials were made, and how many were wrong.
    """
    drill, made, failed = prepare(folder), 0, 0
    print(f"{STAGE}: {drill.seconds:.2f} s alone, events: {drill.counts}", flush=True)
    for trial in range(trials):
        made += 1
        wrong = drill.trial(random.Random(f"{seed}/{trial}"))
        for line in wrong:
            print(f"trial {trial}: {line}", flush=True)
        failed += bool(wrong)
        if failed and not keep_going:
            break
    return drill, made, failed

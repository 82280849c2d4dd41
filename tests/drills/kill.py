"""SIGKILL at random instants, again and again, and the same bytes in the end.

``python -m tests.drills.kill --trials 200 --seed 1`` kills a short stage: half of the instants are drawn over its
time, half over its places (operations of forward, backward and optimizer; bytes of a checkpoint; flushes, renames,
lines of the spool, entries of folders). After each kill the stage is started again, and perhaps killed again, until it
is done. ``--what pipeline`` kills whole pipelines (tests/drills/kill_pipeline.py), ``--what shared`` some of the
processes that share a stage (tests/drills/kill_shared.py). ``--compiled eager`` has the blocks traced and the samples
of a micro-batch in one row, ``--compiled inductor`` compiles them (it needs a C++ compiler): what was compiled lies on
the disk, or half of it. The instants follow from the seed.

Exit code 0: every trial ended with the bytes of the uninterrupted run; 1: one did not (its folder is kept).
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tests.checkouts import Checkout
from tests.drills import aftermath, zygote
from tests.drills.instants import COMPUTING, PLACES, STEP, WHERE_COMPILED, Instant, Watch
from tinygptv.ground.names import STAGES
from tinygptv.training import compiled

AGAIN = 0.35
"""How likely a restarted stage is stopped again."""
MOST_STOPS = 4


@dataclass(slots=True)
class Drill:
    """One stage, its uninterrupted run, and what the trials found."""

    checkout: Checkout
    stage: str
    folder: Path
    places: tuple[str, ...]
    number: int = signal.SIGKILL
    """The signal that stops it."""
    compiled: bool = False
    expected: dict[str, str] = field(default_factory=dict)
    """Digests of the uninterrupted run's results."""
    metrics: dict[tuple[str, int], float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    """Events of an uninterrupted run by place."""
    seconds: float = 0.0
    stops: Counter[str] = field(default_factory=Counter)
    """By place."""
    unreached: int = 0
    """Attempts that came to their end before the instant."""

    def measure(self) -> None:
        """Run the stage without a kill: its results, its time, its events.

        Raises:
            RuntimeError: it fails, watching it changes its results, or a place has no events.
        """
        log = self.folder / "uninterrupted.log"
        if not aftermath.published(self.checkout, self.stage):
            ended = zygote.run_step(self.checkout.root, self.stage, log)
            if ended.code:
                raise RuntimeError(f"{self.stage} ended with {ended.code} in an uninterrupted run: {ended.log}")
            self.seconds = ended.seconds
        self.expected = aftermath.results(self.checkout, self.stage)
        self.metrics = aftermath.metrics(self.checkout, self.stage)
        aftermath.clear(self.checkout, self.stage)
        ended, self.counts = zygote.count_events(self.checkout.root, self.stage, log, compiled=self.compiled)
        self.seconds = self.seconds or ended.seconds
        if aftermath.results(self.checkout, self.stage) != self.expected:
            raise RuntimeError(f"{self.stage}: two uninterrupted runs differ")
        places = WHERE_COMPILED if self.compiled else PLACES
        unseen = [place for place in places if not self.counts.get(place)]
        if unseen:
            raise RuntimeError(f"nothing happens at {', '.join(unseen)}: the drill would miss its aim")

    def trial(self, source: random.Random) -> list[str]:
        """Stop the stage at a random instant and start it again, until it is done.

        Returns:
            What was wrong, in words; empty if nothing was.
        """
        aftermath.clear(self.checkout, self.stage)
        wrong: list[str] = []
        stops = 1
        while stops < MOST_STOPS and source.random() < AGAIN:
            stops += 1
        for number in range(stops):
            before = aftermath.newest_point(self.checkout, self.stage)
            ended, place, told = self._stopped_attempt(source, self.folder / f"attempt{number}.log")
            while number == 0 and ended.code == 0:
                self.unreached += 1
                aftermath.clear(self.checkout, self.stage)
                ended, place, told = self._stopped_attempt(source, self.folder / f"attempt{number}.log")
            if ended.code == 0:
                self.unreached += 1
                return wrong + self._after_the_end(ended, before)
            wrong += self._after_a_stop(ended, before, place, told)
        before = aftermath.newest_point(self.checkout, self.stage)
        ended = zygote.run_step(self.checkout.root, self.stage, self.folder / "last.log")
        return wrong + self._after_the_end(ended, before)

    def _stopped_attempt(self, source: random.Random, log: Path) -> tuple[zygote.Ended, str, tuple[int, int]]:
        """Start the stage and stop it at a random instant.

        Returns:
            How it ended, where, and what it had done as far as it could tell: steps, and the step of its last point.
        """
        place = source.choice(self.places)
        told = log.with_suffix(".steps")
        told.unlink(missing_ok=True)
        if place == "time":
            signals = [(source.uniform(0, self.seconds), self.number), (0.02, self.number)]
            ended = zygote.run_step(self.checkout.root, self.stage, log, signals=signals)
        else:
            instant = Instant(place, source.randrange(self.counts[place]), source.random())
            watch = Watch(self.checkout.root, instant, self.number, self.compiled, told)
            ended = zygote.run_step(self.checkout.root, self.stage, log, watch=watch)
        if ended.code:
            self.stops[place] += 1
        steps, saved = json.loads(told.read_text()) if told.exists() else (0, 0)
        return ended, place, (steps, saved)

    def _after_a_stop(self, ended: zygote.Ended, before: int, place: str, told: tuple[int, int]) -> list[str]:
        """What is wrong right after a signal; ``before`` is the newest point that the attempt could begin from."""
        steps, saved = told
        allowed = {-self.number} if self.number == signal.SIGKILL else {-self.number, 128 + self.number}
        wrong = [] if ended.code in allowed else [f"the stage ended with {ended.code}: {ended.log}"]
        newest = aftermath.newest_point(self.checkout, self.stage)
        wrong += aftermath.half_done(self.checkout, self.stage, self.expected, max(before, saved), newest)
        if self.number == signal.SIGTERM and place in COMPUTING and newest != before + steps + 1:
            wrong.append(f"SIGTERM came in step {before + steps + 1}, the newest point is of step {newest}")
        return wrong

    def _after_the_end(self, ended: zygote.Ended, before: int) -> list[str]:
        """What is wrong once an attempt has come to the stage's end."""
        wrong = [] if ended.code == 0 else [f"the restarted stage ended with {ended.code}: {ended.log}"]
        if before and f"{self.stage}: going on after step {before}\n" not in ended.log:
            wrong.append(f"the newest point, of step {before}, was not used: {ended.log}")
        return wrong + aftermath.final(self.checkout, self.stage, self.expected, self.metrics)


def prepare(
    stage: str,
    folder: Path,
    places: tuple[str, ...],
    number: int = signal.SIGKILL,
    checkout: Path | None = None,
    backend: str | None = None,
) -> Drill:
    """A drill of a stage, ready for its trials.

    Args:
        stage: its name.
        folder: for checkout and logs.
        places: where to stop it; ``time`` for any instant.
        number: the signal.
        checkout: a small checkout in which the earlier steps have run, or the stage, too; None to make one.
        backend: what compiles the stage's blocks; None: nothing does.
    """
    zygote.import_all()
    if checkout is None:
        made = zygote.make_checkout(folder, stage)
    else:
        made = Checkout(shutil.copytree(checkout, folder / "checkout"))
    if backend is not None:
        made.edit("compile: false", "compile: true")
        made.edit("packing: false", "packing: true")
        compiled.compile_blocks = partial(compiled.compile_blocks, backend=backend)
        shutil.rmtree(made.data / stage, ignore_errors=True)  # of a run without that
    drill = Drill(made, stage, folder, places, number, backend is not None)
    drill.measure()
    return drill


def summary(stops: Counter[str], unreached: int, trials: int, failed: int) -> str:
    """What was stopped where."""
    lines = [f"  {place:<12} {count:>5}" for place, count in stops.most_common()]
    lines += [f"  came to its end before the instant: {unreached}"] if unreached else []
    verdict = f"{'FAIL' if failed else 'PASS'}: {trials} trials, {stops.total()} signals, {failed} wrong"
    return "\n".join(["signals by place:", *lines, verdict])


def stop_stage(arguments: argparse.Namespace, folder: Path) -> int:
    """The drill on one stage."""
    known = WHERE_COMPILED if arguments.compiled else PLACES
    places = tuple(arguments.place) if arguments.place else (*["time"] * len(known), *known)
    number = signal.Signals[f"SIG{arguments.signal}"]
    drill = prepare(arguments.stage, folder, places, number, arguments.checkout, arguments.compiled)
    print(f"{arguments.stage}: {drill.seconds:.2f} s, events: {drill.counts}", flush=True)
    failed = made = 0
    for trial in range(arguments.trials):
        made += 1
        wrong = drill.trial(random.Random(f"{arguments.seed}/{trial}"))
        for line in wrong:
            print(f"trial {trial}: {line}", flush=True)
        failed += bool(wrong)
        if failed and not arguments.keep_going:
            break
    print(summary(drill.stops, drill.unreached, made, failed))
    return 1 if failed else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the drill named on the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.drills.kill", description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0, help="the instants follow from it")
    parser.add_argument("--what", choices=("stage", "shared", "pipeline"), default="stage")
    parser.add_argument("--stage", choices=STAGES, default="stage2")
    parser.add_argument("--signal", choices=("KILL", "TERM"), default="KILL", help="TERM: sent again while it saves")
    parser.add_argument("--place", choices=("time", STEP, *PLACES), action="append", help="only here; may be repeated")
    parser.add_argument("--compiled", choices=("eager", "inductor"), help="with compiled blocks and packed samples")
    parser.add_argument("--checkout", type=Path, help="a small checkout in which the earlier steps have run")
    parser.add_argument("--keep-going", action="store_true", help="make all trials even if one is wrong")
    arguments = parser.parse_args(argv)
    folder = Path(tempfile.mkdtemp(prefix="tinygptv-kill-")).resolve()
    if arguments.what == "pipeline":
        from tests.drills.kill_pipeline import kill_pipeline

        code = kill_pipeline(arguments.trials, arguments.seed, folder, keep_going=arguments.keep_going)
    elif arguments.what == "shared":
        from tests.drills.kill_shared import kill_shared

        drill, made, failed = kill_shared(arguments.trials, arguments.seed, folder, keep_going=arguments.keep_going)
        print(summary(drill.stops, drill.unreached, made, failed))
        code = 1 if failed else 0
    else:
        code = stop_stage(arguments, folder)
    if code:
        print(f"kept: {folder}")
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return code


if __name__ == "__main__":
    sys.exit(main())

"""``tinygptv verify``: steps again, in a scratch worktree, and every output's digest against the lock's.

Exit codes: 0 all equal, 1 something differs or a step fails, 2 something the user can mend, 128+n stopped by signal n.
"""

from __future__ import annotations

import json
import signal
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from tinygptv.ground import worktree
from tinygptv.ground.dvc import cache_folder
from tinygptv.ground.errors import UserError, meant
from tinygptv.ground.file_names import DVC_LOCK, DVC_YAML, PARAMS
from tinygptv.ground.files import read_json, sha256_file
from tinygptv.ground.folders import STATE, record_file, state_folder
from tinygptv.ground.locks import only_one
from tinygptv.ground.processes import Interrupted
from tinygptv.ground.signals import StopRequest
from tinygptv.provenance.recorded import Copies, LockedStep, read_dvc_lock
from tinygptv.provenance.rerun import Scratch, StepResult, committed_folder, environment_differences
from tinygptv.provenance.sample import WeeklyDraw, a_month
from tinygptv.tracking.runs import WHAT_DECIDES_RESULTS

SHOWN_FILES = 8
EXPECTED = "differences are expected, unless the lock is of results made here (`dvc repro -f`)"


@dataclass(slots=True, kw_only=True)
class Report:
    """What a verification found."""

    commit: str
    lock: str
    lock_sha256: str
    profile: str
    environment: dict[str, Any]
    """This machine's."""
    identifier: str = field(default_factory=lambda: uuid.uuid4().hex)
    steps: list[StepResult] = field(default_factory=list)
    seconds: float = 0.0
    sample: dict[str, str] | None = None
    """Where not all is looked at: of which day and seed, and what a month of such samples covers."""

    @property
    def equal(self) -> bool:
        """Whether every output came out as recorded, and no copy of an input is another."""
        return all(step.state == "equal" for step in self.steps)

    def as_json(self) -> dict[str, Any]:
        """Everything, for a machine."""
        return {
            "id": self.identifier,
            "commit": self.commit,
            "lock": self.lock,
            "lock_sha256": self.lock_sha256,
            "profile": self.profile,
            "environment": self.environment,
            "equal": self.equal,
            "seconds": self.seconds,
            "sample": self.sample,
            "steps": [step.as_json() for step in self.steps],
        }


def run(
    root: Path,
    names: Sequence[str],
    lock: Path | None,
    *,
    as_json: bool,
    committed: bool = False,
    sample: WeeklyDraw | None = None,
) -> int:
    """Verify steps and print what came of it.

    Args:
        root: the checkout.
        names: the steps; none for all that have outputs.
        lock: the lock file (default: the checkout's).
        as_json: print the result as JSON on stdout, and the lines on stderr.
        committed: what is changed in the checkout does not matter.
        sample: of the steps, and of the parts of long ones, what it draws; None: all is looked at, whole.

    Returns:
        The exit code.

    Raises:
        UserError: the checkout is not that of its last commit, or lock, step or input is missing.
    """
    lines = sys.stderr if as_json else sys.stdout
    try:
        report = verify(root, names, lock, lines, committed=committed, sample=sample)
    except Interrupted as stop:
        print(f"verify: stopped by {stop}", file=sys.stderr)
        return stop.exit_code
    if as_json:
        print(json.dumps(report.as_json(), indent=2, ensure_ascii=False))
    return 0 if report.equal else 1


def verify(
    root: Path,
    names: Sequence[str],
    lock: Path | None,
    lines: TextIO,
    *,
    committed: bool = False,
    sample: WeeklyDraw | None = None,
) -> Report:
    """Rerun steps one after the other; each gets its inputs from the lock, never from the rerun before it.

    Raises:
        UserError: as ``run``.
        Interrupted: SIGTERM or SIGINT; nothing is left.
    """
    started = time.monotonic()
    given = lock if lock is not None else root / DVC_LOCK
    steps = read_dvc_lock(given)
    chosen = select(steps, names, given)
    if not committed:
        refuse_changes(root)
    if lock is None and not committed and worktree.changed_files(root, DVC_LOCK):
        print(f"{DVC_LOCK} is not the committed one: compared is with what was made here since", file=lines, flush=True)
    with stoppable() as stop, only_one(root / STATE / "locks" / "verify.lock", "verify"):
        try:
            scratch = prepare(root, given, steps)
            for item in (item for step in chosen for item in step.inputs):
                if not scratch.copies.exists(item):
                    raise UserError(f"{item.path} is neither in DVC's cache nor in the checkout; run `dvc pull`")
            report = Report(
                commit=worktree.last_commit(root),
                lock=str(given.relative_to(root) if given.is_relative_to(root) else given),
                lock_sha256=sha256_file(given),
                profile=profile_of(steps) or "",
                environment=environment_here(),
            )
            rerun(scratch, chosen, report, lines, sample)
        finally:
            with stop.safe_points():
                worktree.remove_scratch(root)
        stop.check()
    report.seconds = round(time.monotonic() - started, 2)
    return report


def rerun(
    scratch: Scratch, chosen: Sequence[LockedStep], report: Report, lines: TextIO, sample: WeeklyDraw | None = None
) -> None:
    """Say what is known before, then run each step and say what came of it."""
    names, seconds = [step.name for step in chosen], _seconds(scratch.checkout, report.profile, chosen)
    long = () if sample is None else sample.in_parts(names, seconds)
    dealt = names if sample is None else sample.whole(names, seconds)
    chosen = [step for step in chosen if step.name in (*long, *dealt)]
    if not chosen:
        print("no step is drawn this week", file=lines, flush=True)
        return
    width = max(len(step.name) for step in chosen)
    changed = scratch.changed_code([step.name for step in chosen])
    notes = {step.name: [*changed[step.name], *_other_environment(scratch, step, report)] for step in chosen}
    for note in dict.fromkeys(note for name in notes for note in notes[name]):
        told = [name for name in notes if note in notes[name]]
        print(f"{', '.join(told)}: {note}", file=lines, flush=True)
    for step in chosen:
        result = StepResult(step=step.name, notes=notes[step.name])
        report.steps.append(result)
        started = time.monotonic()
        if sample is not None and step.name in long:
            scratch.run_parts(step, result, report.profile, sample)
        else:
            scratch.run(step, result)
        result.seconds = round(time.monotonic() - started, 2)
        part = "" if result.parts is None else f"  {result.parts['looked_at']} of {result.parts['total']:,} parts"
        print(f"{step.name:<{width}}  {result.state:<7}  {result.seconds:.1f} s{part}", file=lines, flush=True)
        for line in explain(result):
            print(f"  {line}", file=lines, flush=True)
    if sample is not None:
        totals = {step.step: step.parts["total"] for step in report.steps if step.parts is not None}
        month = a_month(len(names) - len(long), totals)
        report.sample = {"day": sample.day.isoformat(), "seed": str(sample.seed), "month": month}
        print(month, file=lines, flush=True)


def _seconds(checkout: Path, profile: str, steps: Sequence[LockedStep]) -> dict[str, float]:
    """Step → how long it took when it last ran here, where that is on record."""
    files = {step.name: record_file(state_folder(checkout, profile), step.name) for step in steps}
    return {name: float(read_json(file)["seconds"]) for name, file in files.items() if file.is_file()}


def explain(result: StepResult) -> Iterator[str]:
    """The lines below a step that is not equal."""
    if result.reason:
        yield result.reason
    for difference in result.inputs[:SHOWN_FILES]:
        yield f"input {difference}"
    for difference in result.outputs[:SHOWN_FILES]:
        yield str(difference)
    if (more := max(0, len(result.outputs) - SHOWN_FILES)) > 0:
        yield f"and {more} more files"
    if result.state == "differs" and not result.outputs:
        yield "made again from the good copy, every output has the lock's digest"


def select(steps: Mapping[str, LockedStep], names: Sequence[str], lock: Path) -> list[LockedStep]:
    """The asked steps in the order of the lock; all with outputs where none is asked.

    Raises:
        UserError: a step is unknown or has no outputs.
    """
    with_outputs = [step for step in steps.values() if step.outputs]
    known = ", ".join(step.name for step in with_outputs)
    for name in names:
        if name not in steps:
            raise UserError(f"{name}: {lock} has no such step; it has {known or 'none'}{meant(name, steps)}")
        if not steps[name].outputs:
            raise UserError(f"{name} has no outputs that could be compared; steps that have are {known}")
    if not with_outputs:
        raise UserError(f"{lock} has no step with outputs; run the pipeline first")
    return [step for step in with_outputs if not names or step.name in names]


def refuse_changes(root: Path) -> None:
    """What runs is the last commit. The lock is what it is compared with: a pipeline here has just written it anew.

    Raises:
        UserError: code, configuration or graph differ from the last commit.
    """
    worktree.last_commit(root)
    changed = worktree.changed_files(root, *WHAT_DECIDES_RESULTS)
    if changed:
        more = f" (and {len(changed) - 1} more)" if len(changed) > 1 else ""
        what = f"{changed[0]}{more} differs from the last commit"
        raise UserError(f"{what}, and verify runs what is committed; commit or restore it, or add --committed")


def prepare(root: Path, lock: Path, steps: Mapping[str, LockedStep]) -> Scratch:
    """A scratch worktree with the lock file in its place."""
    cache = cache_folder(root)
    folder = worktree.add_scratch(root, cache)
    (folder / DVC_LOCK).write_bytes(lock.read_bytes())
    profile = profile_of(steps)
    if profile is not None and (folder / "configs" / f"{profile}.yaml").is_file():
        worktree.set_profile(folder / PARAMS, profile)
    beside = lock.resolve().parent
    checkout = beside if (beside / DVC_YAML).is_file() else root  # another profile's worktree has its own outputs
    copies = Copies(cache, (checkout, committed_folder(folder)))
    scratch = Scratch(folder, checkout, steps, copies)
    scratch.keep_committed()
    return scratch


def profile_of(steps: Mapping[str, LockedStep]) -> str | None:
    """The profile that a lock is of: its outputs lie in ``data/<profile>/``."""
    paths = [item.path.split("/") for step in steps.values() for item in step.outputs]
    return next((parts[1] for parts in paths if parts[0] == "data" and len(parts) > 2), None)


def environment_here() -> dict[str, Any]:
    """What decides bits on this machine."""
    from tinygptv.ground import runtime

    found: dict[str, Any] = json.loads(json.dumps(runtime.environment()))  # as it is read from a manifest
    return found


def _other_environment(scratch: Scratch, step: LockedStep, report: Report) -> list[str]:
    recorded = scratch.recorded_environment(step)
    found = environment_differences(recorded, report.environment) if recorded is not None else []
    return [f"other environment: {'; '.join(found)}; {EXPECTED}"] if found else []


@contextmanager
def stoppable() -> Iterator[StopRequest]:
    """SIGTERM and SIGINT become ``Interrupted``, once; the former handlers come back."""
    numbers = (signal.SIGTERM, signal.SIGINT)
    former = {number: signal.getsignal(number) for number in numbers}
    try:
        yield StopRequest.listen()
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)

"""One step: ``dvc repro -s STEP`` with its lines passed on as they come, and what became of it."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from flows.graph import RunPlan, Step
from flows.terminal import LineSplitter, StepView
from tinygptv.ground.addresses import without_secrets
from tinygptv.ground.dvc import locked_steps
from tinygptv.ground.errors import EXIT_PASSING, passes
from tinygptv.ground.files import read_json, write_json
from tinygptv.ground.folders import record_file
from tinygptv.ground.processes import GRACE_SECONDS, guarded

BUSY = ("is busy, it is being blocked", "Unable to acquire lock")
BUSY_TRIES, BUSY_SECONDS = 5, 3.0
UPDATES_TO_LOG_SECONDS = 10.0
FAILURE = "ERROR: failed to reproduce"
KILLING = frozenset(signal.Signals) - {signal.SIGTERM, signal.SIGINT}
"""Signals of which a step itself says nothing."""
KILLED = (-9, 137)
"""SIGKILL, as DVC and as shells tell it."""
DVC_CHATTER = re.compile(
    r"Running stage '|> |Updating lock file|Generating lock file|To track the changes with git|\s*git add "
    r"|To enable auto staging|\s*dvc config core.autostage|Use `dvc push`|Stage '.*' (didn't change|is cached)"
    r"|Data and pipelines are up to date|Verifying data sources|WARNING: Process .* in RWLock-file .* had been killed"
)
"""Lines of DVC that a person need not see; they still go to Prefect. Should DVC rephrase them, they only show again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOutcome:
    """How a step ended."""

    step: str
    state: str
    """``Completed``, ``Cached`` (restored from DVC's run cache), ``UpToDate``, ``Failed``, ``Stopped`` or ``NotRun``;
    while the flow works, also ``Running``."""
    seconds: float = 0.0
    run_id: str | None = None
    url: str | None = None
    reason: str = ""
    """The line that says why it failed."""
    can_retry: bool = False
    """Whether the same may succeed though nobody mends anything."""

    @property
    def skipped(self) -> bool:
        """Whether DVC had the result already."""
        return self.state in ("UpToDate", "Cached")

    @property
    def ok(self) -> bool:
        """Whether what depends on the step may run."""
        return self.state in ("Completed", "Cached", "UpToDate")


def run_step(plan: RunPlan, step: Step, log: Callable[[str], None]) -> StepOutcome:
    """Run one step to its end, print its lines and hand them to ``log``."""
    started = time.monotonic()
    print(step.name, flush=True)
    view = StepView()
    before = _fingerprint(plan, step.name)
    code, lines = _repro(plan, step, view, log)
    seconds = round(time.monotonic() - started, 2)
    if code:
        outcome = StepOutcome(
            step=step.name,
            state="Failed",
            seconds=seconds,
            reason=_why(lines, code),
            can_retry=_may_pass(lines, code),
        )
    else:
        outcome = _success(plan, step.name, seconds, before)
    words = {"Completed": f"done in {seconds:.1f} s", "Cached": "restored from the cache", "UpToDate": "up to date"}
    view.line(words.get(outcome.state, f"failed after {seconds:.1f} s"))
    return outcome


def save_outcomes(plan: RunPlan, outcomes: dict[str, StepOutcome]) -> None:
    """Write how each step ended so far, for the launcher's table and for people."""
    steps = [asdict(outcomes.get(step.name, StepOutcome(step=step.name, state="NotRun"))) for step in plan.steps]
    write_json(plan.results_file, {"pipeline": plan.pipeline, "profile": plan.profile, "steps": steps})


def read_outcomes(plan: RunPlan) -> list[StepOutcome]:
    """How each step of this call ended, once the flow is gone: what was running then was stopped."""
    recorded: list[dict[str, Any]] = []
    if plan.results_file.is_file():
        content = read_json(plan.results_file)
        recorded = content["steps"] if content["pipeline"] == plan.pipeline else []
    known = {entry["step"]: StepOutcome(**entry) for entry in recorded}
    for name, outcome in known.items():
        if outcome.state == "Running":
            known[name] = replace(outcome, state="Stopped")
    return [known.get(step.name, StepOutcome(step=step.name, state="NotRun")) for step in plan.steps]


def _repro(plan: RunPlan, step: Step, view: StepView, log: Callable[[str], None]) -> tuple[int, list[str]]:
    """Call DVC, again after a pause if another DVC holds the same files."""
    command = [sys.executable, "-m", "dvc", "repro", "-s", *(["-f"] if step.name in plan.force else []), step.name]
    for left in reversed(range(BUSY_TRIES)):
        code, lines = _stream(command, plan, view, log)
        if not code or not left or not any(mark in line for line in lines for mark in BUSY):
            break
        view.line(f"another DVC works on these files; trying again in {BUSY_SECONDS:.0f} s")
        time.sleep(BUSY_SECONDS)
    return code, lines


def _stream(command: list[str], plan: RunPlan, view: StepView, log: Callable[[str], None]) -> tuple[int, list[str]]:
    """Run a command under a guard; the last lines come back for the error message."""
    lines: deque[str] = deque(maxlen=200)
    logged = time.monotonic()

    def line(text: str) -> None:
        if not text:
            return  # DVC sets its hints apart with empty lines
        text = without_secrets(text)  # of libraries, too: it goes to Prefect and into the reason of a failure
        lines.append(text)
        log(text)
        if not DVC_CHATTER.match(text):
            view.line(text)

    def update(text: str) -> None:
        nonlocal logged
        text = without_secrets(text)
        view.update(text)
        if text and time.monotonic() - logged >= UPDATES_TO_LOG_SECONDS:
            logged = time.monotonic()
            log(text)

    splitter = LineSplitter(line, update)
    process = subprocess.Popen(
        guarded(command), cwd=plan.root, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert process.stdout is not None
    try:
        _read(process, process.stdout.fileno(), splitter)
        splitter.close()
        return process.wait(), list(lines)
    finally:
        if process.poll() is None:  # cancelled, stopped or a bug: the guard clears up below itself
            process.terminate()
            try:
                process.wait(2 * GRACE_SECONDS + 5)
            except subprocess.TimeoutExpired:
                process.kill()
        process.stdout.close()


def _read(process: subprocess.Popen[bytes], handle: int, splitter: LineSplitter) -> None:
    """Pass on the output until its end, or until the guard is gone though an orphan still holds the pipe."""
    while True:
        ready, _, _ = select.select([handle], [], [], 1.0)
        if ready:
            chunk = os.read(handle, 65536)
            if not chunk:
                return
            splitter.feed(chunk)
        elif process.poll() is not None:
            return


def _success(plan: RunPlan, step: str, seconds: float, before: str) -> StepOutcome:
    """Tell a run, a restored result and an untouched one apart by what they leave behind, not by DVC's English."""
    path = record_file(plan.state_folder, step)
    record: dict[str, Any] = read_json(path) if path.is_file() else {}
    url = without_secrets(record["url"]) if record.get("url") else None  # a record of earlier code may hold a user
    if record.get("pipeline") == plan.pipeline:
        state = "Completed"
    elif _fingerprint(plan, step) == before:
        state = "UpToDate"  # the record, if there is one, is of the run that made the outputs
    else:
        return StepOutcome(step=step, state="Cached", seconds=seconds)
    return StepOutcome(step=step, state=state, seconds=seconds, run_id=record.get("run_id"), url=url)


def _fingerprint(plan: RunPlan, step: str) -> str:
    """The step's entry in ``dvc.lock`` with name, size and time of each of its output files."""
    entry = locked_steps(plan.root).get(step)
    files = []
    for out in (entry or {}).get("outs", ()):
        path = plan.root / out["path"]
        for file in [path] if path.is_file() else sorted(path.rglob("*")):
            status = file.stat()
            if file.is_file():
                files.append((str(file), status.st_size, status.st_mtime_ns))
    return json.dumps([entry, files], sort_keys=True, default=str)


def _why(lines: list[str], code: int) -> str:
    """The line for a failure: what DVC found wrong, the signal that killed the step, or the step's last line."""
    said = [line for line in lines if not line.startswith(FAILURE) and not DVC_CHATTER.match(line)]
    silent = f"dvc repro ended with exit code {code}"
    last = (said or lines or [silent])[-1]
    found = next((line.partition("': ")[2] for line in lines if line.startswith(FAILURE)), "")
    ended = re.search(r"exited with (-?\d+)$", found)
    if ended is None:
        return found or last
    number = int(ended[1])
    number = -number if number < 0 else number - 128  # as DVC tells it, and as shells do
    if number not in KILLING:
        return last
    own = [line for line in said if not _is_of_the_shell(line, number)]
    return f"killed by {signal.Signals(number).name}; its last line: {(own or [silent])[-1]}"


def _is_of_the_shell(line: str, number: int) -> bool:
    """Whether a shell tells with this line that a signal killed what it ran: ``Killed``, ``sh: 1: Killed``."""
    told = re.escape(str(signal.strsignal(number)))
    return re.match(rf"(\S+: )?((line )?\d+: +)?(\d+ +)?{told}( \(core dumped\))?( {{2,}}.*)?$", line) is not None


def _may_pass(lines: list[str], code: int) -> bool:
    """Whether trying again by itself can help: after a passing fault, or where the step was killed from outside.

    SIGKILL comes from the system where memory is short, or from who takes the machine away: the step goes on from its
    last resume point. SIGTERM is no such case: somebody asked this step to stop. Nor are bugs, and errors for the user.
    DVC ends with a code of its own and tells the step's in its last lines.
    """
    ended = [int(found[1]) for line in lines if (found := re.search(r"exited with (-?\d+)$", line))]
    if ended:
        return ended[-1] in (EXIT_PASSING, *KILLED)
    busy = any(mark in line for line in lines for mark in BUSY)
    return code in KILLED or busy or any(passes(OSError(line)) for line in lines if line.startswith("ERROR: "))

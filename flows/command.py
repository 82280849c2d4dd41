"""A ``tinygptv`` command below a flow: guarded, its lines shown and logged as they come, its result in a file."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from tinygptv.ground.addresses import without_secrets
from tinygptv.ground.crew import PROCESSES, RUNNER, processes_asked
from tinygptv.ground.processes import GRACE_SECONDS, guarded
from tinygptv.ground.startup import outlive_readers
from tinygptv.ground.tables import say

MEND = "MendMe"
"""Name of the state where the user has to do something first."""


def stream(
    command: list[str],
    root: Path,
    output: Path,
    log: Callable[[str], None],
    more: Mapping[str, str] | None = None,
) -> tuple[int, str]:
    """Run the command under a guard: its lines to the terminal and the log as they come, its result to a file.

    Args:
        command: what to run; it prints its result to stdout and lines for people to stderr.
        root: the checkout.
        output: the file for the result.
        log: where the lines go besides the terminal.
        more: further variables of its environment.

    Returns:
        The exit code and the last line.
    """
    outlive_readers()
    last = ""
    with output.open("wb") as file:
        process = subprocess.Popen(
            guarded(command),
            cwd=root,
            env=environment(root) | dict(more or {}),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
    assert process.stderr is not None
    try:
        for line in process.stderr:
            last = without_secrets(line.rstrip())
            say(last)
            log(last)
        return process.wait(), last
    finally:
        if process.poll() is None:  # cancelled: the command clears up below itself
            process.terminate()
            try:
                process.wait(3 * GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
        process.stderr.close()


def machine(processes: int | None, runner: str | None) -> dict[str, str]:
    """Variables that say how many processes of which runner do a step's work; no result depends on them.

    Raises:
        UserError: no such number.
    """
    asked = {PROCESSES: None if processes is None else str(processes), RUNNER: runner}
    found = {name: value for name, value in asked.items() if value is not None}
    processes_asked(found)
    return found


def environment(root: Path) -> dict[str, str]:
    """The code of the checkout, whoever calls."""
    return {**os.environ, "PYTHONPATH": str(root / "src"), "DVC_ROOT": str(root)}

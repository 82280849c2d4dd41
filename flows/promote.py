"""Promotion as Prefect flows: ``promote`` and ``evaluate_champion``, each a ``tinygptv`` command and a table.

Whoever imports it imports Prefect; deployments name ``flows/promote.py:promote`` and
``flows/promote.py:evaluate_champion``. From a terminal, ``tinygptv promote`` does the same without Prefect.
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from prefect import flow, get_run_logger
from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from flows.command import MEND, machine, stream
from flows.naming import ProcessCount, ProfileChoice, RunnerChoice, run_name
from tinygptv.ground.errors import EXIT_USER_ERROR
from tinygptv.ground.folders import find_root
from tinygptv.ground.tables import say

REFUSED = "Refused"
"""Name of the state where the gate said no, which is a result and no failure."""

logging.getLogger("prefect.flow_runs").propagate = False  # to the server only: the terminal shows the lines themselves


@flow(name="promote", flow_run_name=run_name, log_prints=False, persist_result=False)
def promote(
    version: str | None = None,
    profile: ProfileChoice = None,
    processes: ProcessCount = None,
    runner: RunnerChoice = None,
) -> State:
    """Make a version champion if it passes the gate beside the present champion.

    Args:
        version: number or alias of the version; none for the challenger.
        profile: the profile whose model it is; none for the checkout's own.
        processes: as of `nightly`.
        runner: the same.
    """
    wanted = [version] if version is not None else []
    code, message, result = _run(["promote", *wanted], profile, machine(processes, runner))
    if result is None:
        return Failed(name=MEND if code == EXIT_USER_ERROR else None, message=message)
    line = f"{result['name']} version {result['version']}"
    decision = result["decision"]
    if decision is None:
        return _end(Completed(message=f"{line} is the champion already"))
    _show("promotion", decision, f"{line}, compared with champion {result['champion'] or 'none'}")
    if not result["promoted"]:
        return _end(Completed(name=REFUSED, message=f"{line} was refused: {'; '.join(decision['reasons'])}"))
    return _end(Completed(message=f"{line} is champion; previous: {result['champion'] or 'none'}"))


@flow(name="evaluate-champion", flow_run_name=run_name, log_prints=False, persist_result=False)
def evaluate_champion(
    profile: ProfileChoice = None, processes: ProcessCount = None, runner: RunnerChoice = None
) -> State:
    """Ask the champion its test set again; fails where it misses a limit of its gate.

    Args:
        profile: the profile whose model it is; none for the checkout's own.
        processes: as of `nightly`.
        runner: the same.
    """
    code, message, result = _run(["evaluate-champion"], profile, machine(processes, runner))
    if result is None:
        return Failed(name=MEND if code == EXIT_USER_ERROR else None, message=message)
    decision, line = result["decision"], f"{result['name']} version {result['version']}"
    _show("champion", decision, f"{line}, {result['url']}")
    if not decision["passed"]:
        return _end(Failed(message=f"{line} fails: {'; '.join(decision['reasons'])}; {result['url']}"))
    return _end(Completed(message=f"{line} reaches every limit; {result['url']}"))


def _run(arguments: list[str], profile: str | None, more: dict[str, str]) -> tuple[int, str, dict[str, Any] | None]:
    """Exit code, last line and result of a command; no result where it had none."""
    root = find_root(Path.cwd())
    chosen = ["--profile", profile] if profile is not None else []
    command = [sys.executable, "-m", "tinygptv.cli", *arguments, "--json", *chosen]
    with TemporaryDirectory() as folder:
        file = Path(folder) / "result.json"
        more = more | {"PREFECT_FLOW_RUN_ID": str(flow_run.get_id() or "")}
        code, last = stream(command, root, file, get_run_logger().info, more)
        if code not in (0, 1) or not file.stat().st_size:
            return code, last or f"exit code {code}", None
        return code, last, json.loads(file.read_bytes())


def _show(key: str, decision: dict[str, Any], description: str) -> None:
    """The table that the Prefect UI shows under Artifacts."""
    rows = [
        {
            "check": row["check"],
            "value": row["value"],
            "limit": row["limit"],
            "passed": "yes" if row["ok"] else "NO",
            "what was seen": row["reason"] or row["note"],
        }
        for row in decision["rows"]
    ]
    create_table_artifact(key=key, table=rows, description=description)


def _end(state: State) -> State:
    say(str(state.message))
    return state

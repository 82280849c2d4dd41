"""The Prefect side of ``flows/verify.py``: ``tinygptv verify`` in a process of its own, a table, a run in MLflow.

Whoever imports it imports Prefect; a deployment names ``flows/verification.py:verify``.
"""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from prefect import flow, get_run_logger
from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from flows.command import MEND, environment, machine, stream
from flows.naming import ProcessCount, ProfileChoice, RunnerChoice, StepsChoice, run_name
from tinygptv.ground.arguments import Parser
from tinygptv.ground.errors import EXIT_USER_ERROR
from tinygptv.ground.file_names import DVC_LOCK, PARAMS, VERIFICATION
from tinygptv.ground.folders import find_root
from tinygptv.ground.tables import say
from tinygptv.ground.worktree import folder_of
from tinygptv.ground.yaml_files import read_yaml

RECORD_SECONDS = 120.0

logging.getLogger("prefect.flow_runs").propagate = False  # to the server only: the terminal shows the lines themselves


@flow(name="verify", flow_run_name=run_name, log_prints=False, persist_result=False)
def verify(
    steps: StepsChoice = None,
    profile: ProfileChoice = None,
    nightly: bool = False,
    sample: int | None = None,
    longest_hours: float = 1.0,
    processes: ProcessCount = None,
    runner: RunnerChoice = None,
) -> State:
    """Run steps again and compare every output with the lock.

    Args:
        steps: their names; none for all that have outputs.
        profile: the profile whose worktree has the lock; none for the checkout's own.
        nightly: compare with what the last scheduled pipeline made, if there was one; what is changed in the checkout
            does not matter then.
        sample: a seed: only the steps, and the parts of long ones, that are drawn from it and the date; none for all.
        longest_hours: a stage that took longer counts as long.
        processes: as of `nightly`.
        runner: the same.
    """
    root = find_root(Path.cwd())
    command = [
        sys.executable,
        "-m",
        "tinygptv.cli",
        "verify",
        *(steps or []),
        "--json",
        *_lock_of(root, profile, nightly),
        *([] if sample is None else ["--sample", str(sample), "--longest", str(longest_hours)]),
    ]
    with TemporaryDirectory() as folder:
        file = Path(folder) / VERIFICATION
        code, last = stream(command, root, file, get_run_logger().info, machine(processes, runner))
        if code not in (0, 1) or not file.stat().st_size:
            return Failed(name=MEND if code == EXIT_USER_ERROR else None, message=last or f"exit code {code}")
        result = json.loads(file.read_bytes())
        _show_table(result)
        url = _record(root, file)
    states = [step["state"] for step in result["steps"]]
    equal = f"{states.count('equal')} of {len(states)} steps equal"
    message = "; ".join(filter(None, (equal, (result["sample"] or {}).get("month"), url)))
    say(message)
    return Completed(message=message) if code == 0 else Failed(message=message)


def _lock_of(root: Path, profile: str | None, nightly: bool) -> list[str]:
    """The options that name the lock of a worktree."""
    active = read_yaml(root / PARAMS).get("profile")
    chosen = profile or active
    lock = folder_of(root, chosen, nightly=True) / DVC_LOCK
    if nightly and lock.is_file():
        return ["--committed", "--from", str(lock)]
    return [] if chosen == active else ["--from", str(folder_of(root, chosen) / DVC_LOCK)]


def _show_table(result: dict[str, Any]) -> None:
    """The table that the Prefect UI shows under Artifacts."""
    rows = [
        {
            "step": step["step"],
            "state": step["state"],
            "seconds": step["seconds"],
            "first difference": _first(step),
        }
        for step in result["steps"]
    ]
    create_table_artifact(key="verify", table=rows, description=f"Commit {result['commit'][:12]}, {result['lock']}")


def _first(step: dict[str, Any]) -> str:
    found = [f"{entry['path']}: {entry['words']}" for entry in (*step["inputs"], *step["outputs"])]
    return str(step["reason"]) or next(iter(found), "")


def _record(root: Path, file: Path) -> str:
    """Record the result in MLflow; where that fails, the verification still counts."""
    command = [sys.executable, "-m", "tinygptv.tracking", "record-verification", "--file", str(file)]
    env = environment(root) | {"PREFECT_FLOW_RUN_ID": str(flow_run.get_id() or "")}
    try:
        done = subprocess.run(
            command, cwd=root, env=env, capture_output=True, text=True, check=False, timeout=RECORD_SECONDS
        )
    except subprocess.TimeoutExpired:
        return f"MLflow did not answer within {RECORD_SECONDS:.0f} s"
    lines = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()
    return (lines or [f"not recorded: exit code {done.returncode}"])[-1]


def main() -> int:
    """Run the flow with the launcher's arguments."""
    parser = Parser()
    parser.add_argument("steps", nargs="*")
    parser.add_argument("--profile")
    options = parser.parse_args()
    # Prefect's temporary server is stopped by an exit handler, which only a normal exit calls.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    state = verify(options.steps, options.profile, return_state=True)
    if state.is_completed():
        return 0
    return EXIT_USER_ERROR if state.name == MEND else 1


if __name__ == "__main__":
    sys.exit(main())

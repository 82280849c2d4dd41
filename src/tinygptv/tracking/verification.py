"""What a verification found, as a run of the profile's experiment."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tinygptv.config.profiles import read_profile
from tinygptv.ground.errors import DataError
from tinygptv.ground.file_names import VERIFICATION
from tinygptv.ground.files import read_json, write_json
from tinygptv.tracking.client import Tracking

RUN_NAME = "verify"
VERIFICATION_TAG = "verification.id"


def record(tracking: Tracking, file: Path, flow_run: str | None) -> str:
    """Record a verification; the same one twice is one run.

    Args:
        tracking: the store.
        file: what ``tinygptv verify --json`` printed.
        flow_run: Prefect's id of the flow run, where a flow verifies.

    Returns:
        The run's URL.

    Raises:
        DataError: the file is no such result.
    """
    result: dict[str, Any] = read_json(file)
    try:
        identifier, profile = str(result["id"]), str(result["profile"]) or read_profile(tracking.root).name
        states = {str(step["step"]): str(step["state"]) for step in result["steps"]}
        seconds = {"seconds": float(result["seconds"])}
        seconds |= {f"seconds.{step['step']}": float(step["seconds"]) for step in result["steps"]}
        tags = {
            "profile": profile,
            "git.sha": str(result["commit"]),
            "lock.sha256": str(result["lock_sha256"]),
            "verification": "equal" if result["equal"] else "differs",
        }
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{file} is no result of `tinygptv verify --json` ({error!r}); run it again") from None
    if flow_run:
        tags["prefect.flow_run_id"] = flow_run
    experiment = tracking.experiment(profile)
    run = tracking.run_once(experiment, VERIFICATION_TAG, identifier, RUN_NAME, tags)
    equal = sum(state == "equal" for state in states.values())
    values = {"equal": equal, "differing": len(states) - equal, **seconds}
    from mlflow.entities import Metric

    started = tracking.mlflow.get_run(run).info.start_time  # one time for all: a second record adds no points
    tracking.mlflow.log_batch(run, [Metric(name, value, started, 0) for name, value in values.items()])
    with TemporaryDirectory() as folder:
        write_json(Path(folder) / VERIFICATION, result)
        tracking.mlflow.log_artifact(run, str(Path(folder) / VERIFICATION))
    tracking.mlflow.set_terminated(run, "FINISHED")
    return tracking.url(experiment, run)

"""A pipeline's MLflow run: what tells it from the next one, and its end.

Which pipelines of a checkout are at work is marked, so that the next one closes the run of one that was killed: that
the run of a dead pipeline still says ``RUNNING`` nobody else can know.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tinygptv.ground.file_names import EIGHT_BITS, FULL_PRECISION
from tinygptv.ground.files import read_json
from tinygptv.ground.folders import reports_folder
from tinygptv.ground.marks import abandoned
from tinygptv.tracking import pages
from tinygptv.tracking.client import PIPELINE_TAG, Tracking

PARENT_TAG = "mlflow.parentRunId"
RESULTS = (FULL_PRECISION, EIGHT_BITS)
"""Reports with a number for each benchmark: the finished model in full precision, and in 8 bits."""


def mark_of(state_folder: Path, identifier: str) -> Path:
    """The mark that a pipeline holds while it lives; it is removed when its run is closed.

    Args:
        state_folder: ``.state/<profile>`` of where it runs.
        identifier: its id.
    """
    return state_folder / "pipelines" / identifier


def close_left(tracking: Tracking, experiment: str, state_folder: Path) -> None:
    """Close the runs of pipelines that are gone as killed.

    Args:
        tracking: the store.
        experiment: the id of their experiment.
        state_folder: as of ``mark_of``.
    """
    for mark in abandoned(state_folder / "pipelines"):
        run = tracking.run(experiment, PIPELINE_TAG, mark.name)
        if run is not None and tracking.mlflow.get_run(run).info.status == "RUNNING":
            tracking.mlflow.set_terminated(run, "KILLED")


def describe(tracking: Tracking, experiment: str, run: str, profile_name: str) -> bool:
    """Put onto a pipeline's run what a person looks for: seconds of each step, the results, links to the steps.

    Args:
        tracking: the store, with all of the steps' records.
        experiment: the id of the pipeline's experiment.
        run: the pipeline's run.
        profile_name: its profile.

    Returns:
        Whether any step ran.
    """
    from mlflow.entities import Metric, Param

    steps = tracking.mlflow.search_runs([experiment], f"tags.`{PARENT_TAG}` = '{run}'", order_by=["start_time ASC"])
    if not steps:
        return False
    now = max(step.info.end_time or step.info.start_time for step in steps)
    seconds = {str(step.info.run_name): step.data.metrics.get("seconds") for step in steps}
    values = {f"seconds.{name}": value for name, value in seconds.items() if value is not None}
    for name in RESULTS:
        report = reports_folder(tracking.root, profile_name) / name
        if report.is_file():
            values |= {f"{report.stem}.{benchmark}": value for benchmark, value in read_json(report).items()}
    params = {"profile": profile_name, "seed": steps[0].data.params.get("seed", ""), "steps": ", ".join(seconds)}
    tracking.mlflow.log_batch(
        run,
        metrics=[Metric(name, float(value), now, 0) for name, value in values.items()],
        params=[Param(name, str(value)) for name, value in params.items()],
    )
    tracking.mlflow.set_tag(run, "mlflow.note.content", _note(tracking, experiment, steps))
    return True


def _note(tracking: Tracking, experiment: str, steps: list[Any]) -> str:
    """The steps of a pipeline, each with a link to its run, and to the version where one was registered."""
    lines = []
    for step in steps:
        page = tracking.url(experiment, step.info.run_id)
        line = f"- [{step.info.run_name}]({page}) {step.info.status.lower()}"
        if "seconds" in step.data.metrics:
            line += f", {step.data.metrics['seconds']:.1f} s"
        name, _, number = step.data.tags.get("model.version", "").rpartition("/")
        if name:
            line += f": [{name} version {number}]({pages.of_version(pages.server_of(page), name, number)})"
        lines.append(line)
    return "\n".join(lines)

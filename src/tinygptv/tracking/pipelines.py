"""Which pipelines of a checkout are at work, so that the next one closes the MLflow run of one that was killed.

That the run of a dead pipeline still says ``RUNNING`` nobody else can know.
"""

from __future__ import annotations

from pathlib import Path

from tinygptv.marks import abandoned
from tinygptv.tracking.client import PIPELINE_TAG, Tracking


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

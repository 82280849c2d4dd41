"""Which pipelines of a checkout are at work, so that the next one closes the MLflow run of one that was killed.

A pipeline holds the lock of a file named after it while it lives. Killed, or after a power loss, the file is there and
its lock is free; that its run still says ``RUNNING`` nobody else can know.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tinygptv.tracking.client import PIPELINE_TAG, Tracking


def mark_of(state_folder: Path, identifier: str) -> Path:
    """The file of a pipeline.

    Args:
        state_folder: ``.state/<profile>`` of where it runs.
        identifier: its id.
    """
    return state_folder / "pipelines" / identifier


@contextmanager
def at_work(mark: Path) -> Iterator[None]:
    """Hold the lock of a pipeline's file; the file stays until its run is closed."""
    mark.parent.mkdir(parents=True, exist_ok=True)
    hidden = mark.with_name(f".{mark.name}")
    with hidden.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        hidden.rename(mark)  # with the lock: without it, it would be that of a dead one
        yield


def close_left(tracking: Tracking, experiment: str, state_folder: Path) -> None:
    """Close the runs of pipelines that are gone as killed.

    Args:
        tracking: the store.
        experiment: the id of their experiment.
        state_folder: as of ``mark_of``.
    """
    for mark in sorted((state_folder / "pipelines").glob("[!.]*")):
        with mark.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue  # at work
            run = tracking.run(experiment, PIPELINE_TAG, mark.name)
            if run is not None and tracking.mlflow.get_run(run).info.status == "RUNNING":
                tracking.mlflow.set_terminated(run, "KILLED")
            mark.unlink(missing_ok=True)

"""Files of a run, brought to this machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tinygptv.ground.errors import UserError
from tinygptv.tracking.client import reachable, require_store, tracking_uri
from tinygptv.tracking.transfers import time_for


def download_artifacts(root: Path, run: str, names: Sequence[str], target: Path) -> Path:
    """Bring files of a run into a folder.

    Args:
        root: the checkout whose store is asked.
        run: the run's id.
        names: the wanted files; those that the run does not have are left out.
        target: the folder to make.

    Returns:
        The folder.

    Raises:
        UserError: the store cannot be reached, has no such run, or the run has none of the files.
    """
    uri = tracking_uri(root)
    require_store(root, f"run {run}")
    with reachable(root) as tracking:
        client = tracking.mlflow
        from mlflow.exceptions import MlflowException

        try:
            client.get_run(run)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            raise UserError(f"run {run}: {uri} has no such run; `tinygptv up` shows their ids") from None
        there = {file.path: file.file_size or 0 for file in client.list_artifacts(run)}
        found = [name for name in names if name in there]
        if not found:
            raise UserError(f"run {run} has none of {', '.join(names)}; name the run of a training stage")
        target.mkdir(parents=True, exist_ok=True)
        for name in found:
            with time_for(there[name]):
                client.download_artifacts(run, name, str(target))
    return target

"""What a user named: a registered version, a folder, a run or a digest; and the chain that begins there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tinygptv.ground.dvc import DIR, dvc_md5, lock_md5, locked_steps
from tinygptv.ground.errors import UserError
from tinygptv.ground.file_names import PACKAGE_FOLDER
from tinygptv.ground.files import sha256_tree
from tinygptv.ground.graph import graph_of
from tinygptv.ground.names import STEPS
from tinygptv.tracking import ADDRESS, REGISTRY_SCHEME
from tinygptv.tracking.chain import Chain, Link, Start
from tinygptv.tracking.client import Tracking, reachable, store_is_missing, tracking_uri
from tinygptv.tracking.lineage import MD5, every, search, walk
from tinygptv.tracking.registry import version_by_alias
from tinygptv.tracking.version_tags import PACKAGE_STEP

FORMS = (
    "models:/<name>@<alias>, models:/<name>/<version>, a folder such as data/tiny/stage4, the id of an MLflow run, or "
    "an md5 of dvc.lock"
)


def trace(root: Path, subject: str) -> Chain:
    """The lineage of whatever a user names.

    Args:
        root: the checkout.
        subject: a version in the registry, a folder, the id of a step's run, or a DVC md5.

    Returns:
        The chain. A SQLite store that does not exist is a problem of the chain, and is not created.

    Raises:
        UserError: the name is of no known form or nothing is known of it, or MLflow cannot be reached.
    """
    folder = _folder(root, subject) if subject else None
    if folder is None and not ADDRESS.fullmatch(subject) and not MD5.fullmatch(subject):
        raise UserError(f"{subject or 'an empty name'} is no folder, version, run or md5; name {FORMS}")
    uri = tracking_uri(root)
    if store_is_missing(root):
        return _without_store(subject, folder, uri)
    with reachable(root) as tracking:
        return walk(tracking.mlflow, graph_of(root), _start(tracking, root, subject, folder))


def _folder(root: Path, subject: str) -> Path | None:
    """The folder of that name, seen from here or from the checkout."""
    if subject.startswith(REGISTRY_SCHEME):
        return None
    for path in (Path(subject).expanduser(), root / subject):
        if path.is_dir():
            return path.resolve()
        if path.is_file():
            raise UserError(f"{subject} is a file; name the folder that a step made")
    return None


def _without_store(subject: str, folder: Path | None, uri: str) -> Chain:
    problem = f"{uri} does not exist; run `make demo`, or set MLFLOW_TRACKING_URI to where its runs are"
    place = _place(folder) if folder is not None else None
    if folder is None or place is None:
        return Chain(subject=subject, problems=(problem,))
    link = Link(step=place, md5=dvc_md5(folder), problems=("without MLflow's store, its run is unknown",))
    return Chain(subject=subject, links=(link,), problems=(problem,))


def _start(tracking: Tracking, root: Path, subject: str, folder: Path | None) -> Start:
    if folder is not None:
        return _of_folder(tracking, subject, folder)
    if subject.startswith(REGISTRY_SCHEME):
        return _of_version(tracking, subject)
    start = _of_run(tracking, subject) or _of_md5(tracking, root, subject)
    if start is None:
        raise UserError(f"{subject} is neither a run nor an output on record in {tracking.uri}; name {FORMS}")
    return start


def _of_version(tracking: Tracking, subject: str) -> Start:
    from mlflow.exceptions import MlflowException

    parts = ADDRESS.fullmatch(subject)
    assert parts is not None
    name, alias, version = parts["name"], parts["alias"], parts["version"]
    if alias is not None:
        version = version_by_alias(tracking, name, alias)
    try:
        if version is not None:
            found = tracking.mlflow.get_model_version(name, version)
            return Start(subject=subject, version=(name, str(found.version)))
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
    raise UserError(f"{subject} is not in the registry of {tracking.uri}; `make demo` registers one")


def _of_folder(tracking: Tracking, subject: str, folder: Path) -> Start:
    """By content, so that a copy elsewhere has the same lineage."""
    package = folder.parts[-2:] == (PACKAGE_STEP, PACKAGE_FOLDER)
    start = _of_package(tracking, subject, folder) if package else None
    if start is not None:
        return start
    if package and _place(folder.parent) is not None:  # not registered yet
        folder = folder.parent
    md5, place = dvc_md5(folder), _place(folder)
    runs = _runs(tracking, md5)
    if place is not None:
        recorded = lock_md5(folder.parents[2], folder)
        changed = f"{folder} has the md5 {md5}, but dvc.lock records {recorded}" if recorded not in (None, md5) else ""
        return Start(subject=subject, step=place, md5=md5, problems=(changed,) if changed else ())
    start = Start(subject=subject, step=_step(runs), md5=md5) if runs else _of_package(tracking, subject, folder)
    if start is None:
        raise UserError(f"{subject}: no run in {tracking.uri} made this content (md5 {md5}), and no version holds it")
    return start


def _of_package(tracking: Tracking, subject: str, folder: Path) -> Start | None:
    """The newest version with a folder's content."""
    query = f"tags.`package.sha256` = '{sha256_tree(folder)}'"
    found = list(every(lambda **page: tracking.mlflow.search_model_versions(query, **page)))
    if not found:
        return None
    newest = max(found, key=lambda version: (version.creation_timestamp, int(version.version)))
    return Start(subject=subject, version=(newest.name, str(newest.version)))


def _of_run(tracking: Tracking, subject: str) -> Start | None:
    from mlflow.exceptions import MlflowException

    try:
        run = tracking.mlflow.get_run(subject)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        return None
    step = run.data.tags.get("step")
    if step not in STEPS:
        raise UserError(f"the run {subject} ({run.info.run_name}) is not that of a step; name one of a step")
    return Start(subject=subject, run_id=subject, step=step)


def _of_md5(tracking: Tracking, root: Path, subject: str) -> Start | None:
    """By the run that made it, the runs that read it, or ``dvc.lock``."""
    for md5 in (subject,) if subject.endswith(DIR) else (f"{subject}{DIR}", subject):
        runs = _runs(tracking, md5)
        if runs:
            return Start(subject=subject, step=_step(runs), md5=md5)
        for step in STEPS:
            if search(tracking.mlflow, _experiments(tracking), f"tags.`dvc.input.{step}` = '{md5}'"):
                return Start(subject=subject, step=step, md5=md5)
        for step in _recorded(root, md5):
            return Start(subject=subject, step=step, md5=md5)
    return None


def _recorded(root: Path, md5: str) -> list[str]:
    """The steps of ``dvc.lock`` that have an output with this digest."""
    steps = locked_steps(root).items()
    return [step for step, entry in steps if any(out.get("md5") == md5 for out in entry.get("outs", ()))]


def _runs(tracking: Tracking, md5: str) -> list[Any]:
    """The steps' runs that made this output, the one that ended last first."""
    runs = search(tracking.mlflow, _experiments(tracking), f"tags.`dvc.md5` = '{md5}'")
    return [run for run in runs if run.data.tags.get("step") in STEPS]


def _step(runs: list[Any]) -> str:
    return str(runs[0].data.tags["step"])


def _experiments(tracking: Tracking) -> list[str]:
    return [str(experiment.experiment_id) for experiment in every(tracking.mlflow.search_experiments)]


def _place(folder: Path) -> str | None:
    """The step whose output belongs into this folder, by its path ``data/<profile>/<step>``."""
    inside = len(folder.parts) > 3 and folder.parts[-3] == "data" and folder.name in STEPS
    return folder.name if inside else None

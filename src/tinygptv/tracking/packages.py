"""The files of a registered package: in place where the store is on this disk, else copied where there is room."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tinygptv.ground.errors import DataError, brief, from_os_error
from tinygptv.ground.files import require_room, scratch_folder
from tinygptv.tracking import faults
from tinygptv.tracking.client import prepare_environment, require_store, store_root, tracking_uri
from tinygptv.tracking.saved import PACKAGE
from tinygptv.tracking.transfers import time_for


@contextmanager
def opened_package(source: str, root: Path | None = None) -> Iterator[Path]:
    """The folder with the weights of a registered package for the block: the store's own, or a copy that then goes.

    Args:
        source: ``models:/<name>@<alias>`` or ``models:/<name>/<version>``.
        root: the checkout whose store is asked; None for the one around this folder.

    Raises:
        UserError: there is no such version, the store refuses, or the copy finds no room.
        DataError: what is registered holds no package.
        PassingError: the store cannot be reached just now.
    """
    uri, files = find(source, root)
    if on_this_disk(files):
        yield weights(source, uri, files, None)
        return
    with ExitStack() as held:
        with _copying(source, uri):
            target = held.enter_context(scratch_folder())
        yield weights(source, uri, files, target)


def find(source: str, root: Path | None) -> tuple[str, Any]:
    """The store, and where MLflow keeps the files of a version."""
    root = root or store_root()
    require_store(root, source)
    uri = tracking_uri(root)
    faults.require_readable(uri, f"reading {source} from {uri}")
    prepare_environment(root)
    import mlflow
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
    from mlflow.store.artifact.models_artifact_repo import ModelsArtifactRepository

    mlflow.set_tracking_uri(uri)  # models are looked up at the global address, whatever the call says
    try:
        files = get_artifact_repository(source, tracking_uri=uri, registry_uri=uri)
    except faults.kinds() as error:
        raise faults.of_version(error, source, uri) from None
    while isinstance(files, ModelsArtifactRepository):  # which would write a file of its own beside the model's
        files = files.repo
    return uri, files


def on_this_disk(files: Any) -> bool:
    """Whether they can be used where they are."""
    from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

    return isinstance(files, LocalArtifactRepository)


def weights(source: str, uri: str, files: Any, target: Path | None) -> Path:
    """The package among the files of a version: in place, or copied where there is room for it."""
    from tinygptv.ground.yaml_files import read_yaml

    with _copying(source, uri):
        if target is None:
            model = Path(files.download_artifacts("", None))
        else:
            target.mkdir(parents=True, exist_ok=True)
            require_room(target, size := _size(files))
            with time_for(size):
                model = Path(files.download_artifacts("", str(target)))
        described = (model / "MLmodel").is_file()
    flavors = read_yaml(model / "MLmodel").get("flavors", {}) if described else {}
    entry = flavors.get("python_function", {}).get("artifacts", {}).get(PACKAGE)
    folder = (model / entry["path"]).resolve() if entry else model
    if entry is None or not folder.is_dir() or not folder.is_relative_to(model.resolve()):
        raise DataError(f"{source} holds no 8-bit package; name a version that the step `register` made")
    return folder


def _size(files: Any, path: str | None = None) -> int:
    """Bytes of a version's files, as the store lists them."""
    return sum(
        _size(files, entry.path) if entry.is_dir else entry.file_size or 0 for entry in files.list_artifacts(path)
    )


@contextmanager
def _copying(source: str, uri: str) -> Iterator[None]:
    """Around the work on a version's files: the store's faults, and those of this machine, as one line."""
    try:
        yield
    except faults.kinds() as error:
        if faults.absent(error):  # the version itself was found
            raise DataError(f"{source}: its files in {uri} are gone or damaged ({brief(error)})") from None
        raise faults.of_version(error, source, uri) from None
    except OSError as error:
        raise from_os_error(error, f"copying {source} to the temporary folder (TMPDIR)") from None

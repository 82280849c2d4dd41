"""Put a model's folder where others get it from: a repository of the hub, or a DVC remote.

Its list of digests (``ground/digests.py``) says which model it is. A push of what is there already moves nothing, and
that of another model over it is refused unless it is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tinygptv.ground import digests
from tinygptv.ground.errors import DataError, UserError
from tinygptv.remotes.dvc_store import DvcStore
from tinygptv.remotes.hub_models import AGAIN, push_model
from tinygptv.remotes.places import Address, parse_target
from tinygptv.remotes.store import NothingThereError, RemoteFile


def target_of(text: str) -> Address:
    """Where a model is to be put.

    Raises:
        UserError: it is no such address.
    """
    try:
        return parse_target(text)
    except ValueError as error:
        raise UserError(f"--push {error}") from None


def push(folder: Path, target: Address, root: Path | None, *, replace: bool) -> str:
    """Put a folder's files at an address.

    Args:
        folder: a model's, sealed.
        target: where; nothing, the same model, or a part of it that an interruption left may be there.
        root: the checkout whose remotes are meant; None: of the hub.
        replace: put it in the place of another model.

    Returns:
        What to tell: how another person gets it.

    Raises:
        DataError: the folder is not as it was written, another model is there, or the store refuses.
        PassingError: the store cannot be reached just now.
    """
    if not digests.check(folder):
        raise DataError(f"{folder} has no {digests.LIST}, which says what it is; make it again")
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    files = {name: path for name, path in files.items() if not digests.is_hidden(name)}
    if target.scheme == "hf":
        return push_model(files, target, replace=replace)
    assert root is not None, "a remote is one of a checkout"
    return _to_remote(files, target, root, replace=replace)


def _to_remote(files: Mapping[str, Path], target: Address, root: Path, *, replace: bool) -> str:
    """The list of digests goes last, and that of another model goes first: what is half there passes for neither."""
    store = DvcStore(target, root)
    there = _there(store, target)
    told = f"`dvc get-url {target} FOLDER` gets it"
    if _is_same(store, target, there, files):
        return f"{target} has it already; {told}"
    begun = digests.LIST not in there and all(
        name in files and file.size <= files[name].stat().st_size for name, file in there.items()
    )
    if there and not begun and not replace:
        raise DataError(f"another model is at {target}; {AGAIN}")
    for name in (digests.LIST, *(there.keys() - files.keys() - {digests.LIST})):
        if name in there:
            store.remove(f"{target.path}/{name}")
    for name in sorted(files, key=lambda name: (name == digests.LIST, name)):
        store.put(files[name], f"{target.path}/{name}")
    size = sum(path.stat().st_size for path in files.values())
    return f"{len(files)} files, {size:,} bytes, are at {target}; {told}"


def _there(store: DvcStore, target: Address) -> dict[str, RemoteFile]:
    try:
        return {file.path: file for file in store.files(target.path)}
    except NothingThereError:
        return {}


def _is_same(store: DvcStore, target: Address, there: Mapping[str, RemoteFile], files: Mapping[str, Path]) -> bool:
    """Whether all of a model is there: the list of its digests, and files of its sizes."""
    if {name: file.size for name, file in there.items()} != {name: path.stat().st_size for name, path in files.items()}:
        return False
    listed = files[digests.LIST].read_bytes()
    return store.read(f"{target.path}/{digests.LIST}", 0, len(listed)) == listed

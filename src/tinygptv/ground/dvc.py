"""DVC's digests, computed from content and read from ``dvc.lock``, and where its cache keeps what they name."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from tinygptv.ground.errors import DataError, UserError
from tinygptv.ground.file_names import DVC_LOCK

DIR = ".dir"
"""The end of a folder's digest; its object is the list of its files."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A file in the list of a folder's files."""

    path: str
    """From the folder on."""
    md5: str

    @property
    def outside(self) -> bool:
        """Whether the path leads out of the folder: DVC writes none that does."""
        path = PurePosixPath(self.path)
        return path.is_absolute() or ".." in path.parts


def dvc_md5(path: Path) -> str:
    """The md5 that DVC will record for a file or folder, before DVC has seen it.

    Args:
        path: a file, or a folder that holds at least one file.

    Returns:
        32 hexadecimal digits, followed by ``.dir`` for a folder.

    Raises:
        DataError: the path does not exist, or is a folder without files (DVC versions files, not folders).
    """
    from dvc_data.hashfile.hash import file_md5
    from dvc_data.hashfile.hash_info import HashInfo
    from dvc_data.hashfile.tree import Tree

    if path.is_file():
        return str(file_md5(str(path)))
    if not path.is_dir():
        raise DataError(f"{path} is missing; run the step that makes it")
    tree = Tree()
    files = sorted(file for file in path.rglob("*") if file.is_file())
    if not files:
        raise DataError(f"{path} holds no file; run the step that fills it")
    for file in files:
        tree.add(file.relative_to(path).parts, None, HashInfo("md5", file_md5(str(file))))
    tree.digest()
    return str(tree.hash_info.value)


def locked_steps(root: Path) -> dict[str, dict[str, Any]]:
    """Step → its entry in ``dvc.lock``, as DVC wrote it; empty where there is no such file."""
    from tinygptv.ground.yaml_files import read_yaml

    lock = root / DVC_LOCK
    content: Mapping[str, Any] = (read_yaml(lock) or {}) if lock.is_file() else {}
    return dict(content.get("stages") or {})


def lock_md5(root: Path, path: Path) -> str | None:
    """The md5 that ``dvc.lock`` records for an output, or for a file in one: such as a view, which a step depends on.

    Args:
        root: the checkout.
        path: the output or file, absolute or relative to the root.

    Returns:
        The md5, or None where no recorded stage has the output, or DVC's cache does not list its files.

    Raises:
        UserError: DVC refuses its configuration.
    """
    lock = root / DVC_LOCK
    if not lock.is_file():
        return None
    status = lock.stat()
    wanted = path.relative_to(root) if path.is_absolute() else path
    outs = _locked(root, (status.st_ino, status.st_mtime_ns, status.st_size))
    if found := outs.get(wanted.as_posix()):
        return found
    folder = next((above for above in wanted.parents if outs.get(above.as_posix(), "").endswith(DIR)), None)
    if folder is None:
        return None
    listing = object_file(cache_folder(root), outs[folder.as_posix()])
    inner = wanted.relative_to(folder).as_posix()
    try:
        return next((file.md5 for file in listed_files(listing) if file.path == inner), None)
    except (FileNotFoundError, ValueError):
        return None  # pruned or damaged: no record of the file, and what is wrong with objects is the doctor's


def cache_folder(root: Path) -> Path:
    """Where DVC keeps contents; a worktree uses the main checkout's.

    Raises:
        UserError: DVC refuses; the message is its own.
    """
    from dvc.config import Config
    from dvc.exceptions import DvcException

    own = root / ".dvc"
    try:
        return Path(Config(str(own))["cache"].get("dir", own / "cache"))
    except DvcException as error:
        raise UserError(f"{root}: {error}") from None


def object_file(cache: Path, md5: str) -> Path:
    """Where a cache keeps a content, or the list of a folder's files."""
    return _objects(cache) / md5[:2] / md5[2:]


def object_files(cache: Path) -> Iterator[Path]:
    """All that a cache keeps."""
    return (path for path in _objects(cache).glob("??/*") if path.is_file())


def named_md5(path: Path) -> str:
    """The md5 that an object's content must have, by its name; of a folder's list, that of the list."""
    return (path.parent.name + path.name).removesuffix(DIR)


def listed_files(path: Path) -> list[Listed]:
    """The files of a folder, by its object.

    Raises:
        ValueError: the object is no such list.
    """
    try:
        return [Listed(str(entry["relpath"]), str(entry["md5"])) for entry in json.loads(path.read_bytes())]
    except (TypeError, LookupError) as error:
        raise ValueError(f"{path} is no list of files ({error!r})") from None


def _objects(cache: Path) -> Path:
    return cache / "files" / "md5"


@lru_cache(maxsize=4)
def _locked(root: Path, state: tuple[int, int, int]) -> dict[str, str]:
    """Output → md5, of one state of ``dvc.lock``: a step asks for each of its inputs, and parsing takes 0.1 s."""
    outs = [out for entry in locked_steps(root).values() for out in entry.get("outs", ())]
    return {out["path"]: str(out["md5"]) for out in outs if "md5" in out}

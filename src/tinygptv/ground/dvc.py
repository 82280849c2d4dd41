"""Digests as DVC records them, computed from content and read from ``dvc.lock``."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from tinygptv.ground.errors import DataError


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


def lock_md5(root: Path, path: Path) -> str | None:
    """The md5 that ``dvc.lock`` records for an output.

    Args:
        root: the checkout.
        path: the output, absolute or relative to the root.

    Returns:
        The md5, or None where no recorded stage has the output.
    """
    lock = root / "dvc.lock"
    if not lock.is_file():
        return None
    status = lock.stat()
    wanted = (path.relative_to(root) if path.is_absolute() else path).as_posix()
    return _locked(lock, (status.st_ino, status.st_mtime_ns, status.st_size)).get(wanted)


@lru_cache(maxsize=4)
def _locked(lock: Path, state: tuple[int, int, int]) -> dict[str, str]:
    """Output → md5, of one state of a lock file: a step asks for each of its inputs, and parsing takes 0.1 s."""
    from tinygptv.ground.yaml_files import read_yaml

    content: dict[str, Any] = read_yaml(lock) or {}
    outs = [out for stage in (content.get("stages") or {}).values() for out in stage.get("outs", ())]
    return {out["path"]: str(out["md5"]) for out in outs if "md5" in out}

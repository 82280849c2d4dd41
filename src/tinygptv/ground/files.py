"""Files that are whole or absent: atomic writes, and digests of what was written."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from typing import Any

from tinygptv.ground.errors import DataError, NoSpaceError, free_bytes, system_error
from tinygptv.ground.marks import abandoned, held

_SURE: set[tuple[Path, int]] = set()
"""Folders, with their inodes, whose names this process has flushed."""
_SCRATCH, _MARKS = "tinygptv-", ".marks"
_PROBE = 4096
"""Bytes that show whether a folder can be written at all."""
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # linux/fcntl.h, linux/fs.h


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that a reader, or a power cut, sees the old content or the new, never a part."""
    with needing(path, len(content)):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_orphans(path)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        sync_path(path.parent)


@contextmanager
def needing(path: Path, size: int) -> Iterator[None]:
    """Around a write of ``size`` bytes, or of at least as many: says so where the disk is full.

    Raises:
        NoSpaceError: the disk, or the user's part of it, is full.
    """
    try:
        yield
    except Exception as error:  # safetensors has errors of its own
        found = system_error(error)
        if found is None or found.errno not in (errno.ENOSPC, errno.EDQUOT) or isinstance(found, NoSpaceError):
            raise
        raise NoSpaceError(path, size) from error


def _remove_orphans(path: Path) -> None:
    """Remove what killed processes left when they wrote the same file."""
    for orphan in path.parent.glob(f".{escape(path.name)}.*.tmp"):
        process = orphan.name.removeprefix(f".{path.name}.").removesuffix(".tmp")
        if process.isdecimal() and not _runs(int(process)):
            orphan.unlink(missing_ok=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # another user's
    return True


def write_text(path: Path, content: str) -> None:
    """Write UTF-8 text atomically."""
    write_bytes(path, content.encode())


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically with sorted keys, so that equal content is equal bytes; NaN is refused."""
    write_text(path, json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def canonical(value: Any) -> str:
    """JSON in its one form, for digests: equal values are equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        DataError: the file does not exist or is not JSON.
    """
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise DataError(f"{path} is missing; run the step that makes it") from None
    except IsADirectoryError:
        raise DataError(f"{path} is a folder; name a file") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not valid JSON ({error}); make it again") from None


def require_room(folder: Path, size: int) -> None:
    """Refuse a write before it begins.

    Args:
        folder: on the disk that is to be written; it need not exist.
        size: bytes that will be written there.

    Raises:
        NoSpaceError: fewer are free.
    """
    if size > free_bytes(folder):
        raise NoSpaceError(folder, size)


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """An empty folder for the block, in the system's temporary one (``TMPDIR``); killed processes' are removed first.

    Raises:
        OSError: nothing can be written there. ``tempfile`` itself would only say that it found no usable folder.
    """
    place = _temporary_place()
    for marks in place.glob(f"{_SCRATCH}*/{_MARKS}"):
        with suppress(FileNotFoundError):  # another process removes it, too
            if marks.parent.lstat().st_uid == os.getuid():
                for _ in abandoned(marks):
                    shutil.rmtree(marks.parent, ignore_errors=True)
    with needing(place, _PROBE):
        folder = Path(tempfile.mkdtemp(prefix=_SCRATCH, dir=place))
    try:
        with held(folder / _MARKS / "owner"):
            content = folder / "content"
            content.mkdir()
            yield content
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _temporary_place() -> Path:
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError:
        place = Path(os.environ.get("TMPDIR") or "/tmp")  # noqa: S108 (only looked at)
        with needing(place, _PROBE), tempfile.TemporaryFile(dir=place, buffering=0) as probe:
            probe.write(bytes(_PROBE))
        return place


def tree_size(folder: Path) -> int:
    """Bytes of all files below ``folder``."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to disk, so that a rename survives a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_path(folder: Path) -> None:
    """Flush a folder's entries and, once in a process, the names of the folders that lead to it: one may be new."""
    sync_folder(folder)
    for path in (folder.absolute(), *folder.absolute().parents):
        known = path, path.stat().st_ino
        if known in _SURE:
            return
        try:
            sync_folder(path.parent)
        except OSError:
            return  # a folder above that this user must not read: not made by us, and there for long
        _SURE.add(known)


def sync_file(path: Path) -> None:
    """Flush a file to disk; also one that DVC made read-only, where its cache holds links."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_tree(folder: Path) -> None:
    """Flush every file and folder below ``folder`` to disk."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            sync_file(path)
        elif path.is_dir():
            sync_folder(path)
    sync_folder(folder)


def replace_folder(staged: Path, final: Path) -> None:
    """Put a finished folder in its place; whatever happens, the place holds the former one or the new one, whole.

    Where the system cannot exchange two names at once, a kill at the wrong moment leaves the place empty.
    """
    sync_tree(staged)
    final.parent.mkdir(parents=True, exist_ok=True)
    beside = final.with_name(f".{final.name}.former")
    _remove(beside)
    there = final.exists()
    try:
        staged.rename(beside if there else final)
    except PermissionError as error:
        raise PermissionError(error.errno, error.strerror, str(final.parent)) from None
    if there and not _exchange(beside, final):
        aside = final.with_name(f".{final.name}.aside")
        _remove(aside)
        final.rename(aside)
        beside.rename(final)
        aside.rename(beside)
    sync_path(final.parent)
    _remove(beside)


def _remove(folder: Path) -> None:
    """Remove a folder if it is there, also one that was made read-only; what cannot be removed stays."""
    if folder.is_dir() and not folder.is_symlink():
        for path in (folder, *(path for path in folder.rglob("*") if path.is_dir() and not path.is_symlink())):
            with suppress(PermissionError):
                path.chmod(path.stat().st_mode | stat.S_IRWXU)
    shutil.rmtree(folder, ignore_errors=True)


def _exchange(one: Path, two: Path) -> bool:
    """Exchange two names in one step of the file system; False where the system cannot."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    if renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(two), _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
        return False
    raise OSError(number, os.strerror(number), str(two))


def link_or_copy(source: Path, target: Path) -> None:
    """A file under a second name: without a second copy where the disk can, for files that nobody changes in place."""
    try:
        os.link(source.resolve(), target)
    except OSError:  # another disk, or one without links
        with needing(target, source.stat().st_size):
            shutil.copyfile(source, target)


def sha256_file(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_tree(folder: Path) -> str:
    """SHA-256 over the sorted relative names and contents of all files below ``folder``."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{sha256_file(path)}\n".encode())
    return digest.hexdigest()


def write_secret(path: Path, content: Any) -> None:
    """Write JSON into a folder that, as the file, is for this user alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.parent.chmod(0o700)  # before the secret is in it: also the temporary file is for this user alone
    write_json(path, content)
    path.chmod(0o600)

"""The first difference of two files or folders, in words: which file, and where in it.

Every kind of file that a step writes is opened as what it is: safetensors by tensor, tar by member, JSON by key,
``trace.jsonl`` and ``history.json`` by training step, all else by byte. A damaged file is a difference like any other.
"""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import IO

from tinygptv.provenance.tensors import tensor_difference
from tinygptv.provenance.values import json_difference, lines_difference
from tinygptv.provenance.words import MISSING, DamagedError, Names, pair

NAMES: Names = ("first", "second")
CHUNK = 1 << 20
MEMBER_FIELDS = ("name", "type", "mode", "size", "mtime", "uid", "gid", "uname", "gname", "linkname")


@dataclass(frozen=True, slots=True)
class Difference:
    """What is different in one file."""

    path: str
    words: str

    def __str__(self) -> str:
        return f"{self.path}: {self.words}"


def differences(first: Path, second: Path, names: Names = NAMES, label: str = "") -> list[Difference]:
    """The first difference in every file that is not equal.

    Args:
        first: a file or folder.
        second: what it is compared with.
        names: what the two sides are called.
        label: the path under which the files are named (default: a file's own name, and paths inside a folder).
    """
    return list(_differences(first, second, names, label))


def file_difference(first: Path, second: Path, names: Names = NAMES, kind: str | None = None) -> str | None:
    """Where two files differ first, or None where every byte is equal.

    Args:
        first: a file.
        second: what it is compared with.
        names: what the two sides are called.
        kind: the suffix that tells how to open them (default: that of ``first``).
    """
    try:
        with first.open("rb") as left, second.open("rb") as right:
            position = _first_byte(left, right)
        if position is None:
            return None
        where = _byte_words(first, second, position, names)
        reader = _reader(kind if kind is not None else first.suffix)
        if reader is None:
            return where
        try:
            words = reader(first, second, names)
        except DamagedError as damage:
            return f"{damage}; {where}"
    except OSError as error:
        return f"cannot be read: {error.strerror or error} ({error.filename or first})"
    return words if words is not None else f"the same content in other bytes; {where}"


def _differences(first: Path, second: Path, names: Names, label: str) -> Iterator[Difference]:
    if first.is_dir() and second.is_dir():
        for name in sorted(_files(first) | _files(second)):
            yield from _differences(first / name, second / name, names, f"{label}/{name}" if label else name)
        return
    kinds = [_kind(path) for path in (first, second)]
    if kinds != ["a file", "a file"]:
        yield Difference(label or first.name, pair(kinds, names))
    elif (words := file_difference(first, second, names)) is not None:
        yield Difference(label or first.name, words)


def _files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def _kind(path: Path) -> str:
    return "a folder" if path.is_dir() else "a file" if path.exists() else MISSING


def _reader(kind: str) -> Callable[[Path, Path, Names], str | None] | None:
    """What tells the difference in the terms of a format; None where only bytes can be told."""
    return {
        ".safetensors": tensor_difference,
        ".tar": archive_difference,
        ".json": json_difference,
        ".jsonl": lines_difference,
    }.get(kind)


def archive_difference(first: Path, second: Path, names: Names) -> str | None:
    """The first differing member of two tar files, and where in it; nothing is unpacked but a member that differs.

    Raises:
        DamagedError: one of the files is cut off or not tar.
    """
    with _opened(first, names[0]) as left, _opened(second, names[1]) as right:
        pairs = zip_longest(_members(left, names[0]), _members(right, names[1]))
        for number, (one, other) in enumerate(pairs, 1):
            if one is None or other is None or one.name != other.name:
                there = [member.name if member is not None else MISSING for member in (one, other)]
                return f"member {number}: {pair(there, names)}"
            for field in MEMBER_FIELDS:
                if getattr(one, field) != getattr(other, field):
                    return f"member {one.name}: {field} {pair((getattr(one, field), getattr(other, field)), names)}"
            if one.isreg() and (words := _content(left, right, one, other, names)) is not None:
                return f"member {one.name}: {words}"
    return None


def _opened(path: Path, name: str) -> tarfile.TarFile:
    try:
        return tarfile.open(path, "r:")
    except tarfile.TarError as error:
        raise DamagedError(f"it cannot be read as tar ({name}): {error}") from None


def _members(archive: tarfile.TarFile, name: str) -> Iterator[tarfile.TarInfo]:
    try:
        yield from archive
    except tarfile.TarError as error:
        raise DamagedError(f"it cannot be read as tar ({name}): {error}") from None


def _content(
    left: tarfile.TarFile, right: tarfile.TarFile, one: tarfile.TarInfo, other: tarfile.TarInfo, names: Names
) -> str | None:
    first, second = left.extractfile(one), right.extractfile(other)
    assert first is not None and second is not None, "a regular member has content"
    try:
        if _first_byte(first, second) is None:
            return None
        with TemporaryDirectory() as folder:
            files = []
            for side, stream in (("first", first), ("second", second)):
                files.append(Path(folder) / side)
                stream.seek(0)
                with files[-1].open("wb") as file:
                    shutil.copyfileobj(stream, file)
            return file_difference(files[0], files[1], names, PurePosixPath(one.name).suffix)
    except tarfile.TarError as error:
        raise DamagedError(f"member {one.name} is cut off: {error}") from None


def _first_byte(first: IO[bytes], second: IO[bytes]) -> int | None:
    """Offset of the first differing byte of two streams; also where one of them ends before the other."""
    offset = 0
    while True:
        one, other = first.read(CHUNK), second.read(CHUNK)
        if one != other:
            length = min(len(one), len(other))
            return offset + next((place for place in range(length) if one[place] != other[place]), length)
        if not one:
            return None
        offset += len(one)


def _byte_words(first: Path, second: Path, position: int, names: Names) -> str:
    sides = []
    for path in (first, second):
        with path.open("rb") as file:
            file.seek(position)
            byte = file.read(1)
        sides.append(f"0x{byte.hex()}" if byte else f"end of file after {position} bytes")
    return f"first differing byte at offset {position}: {pair(sides, names)}"

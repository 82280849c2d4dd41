"""The manifest of a data set's raw files, as ``download`` writes it: which files there are, sorted, with their digests.

One JSON object a line. It is searched on disk: of 5 million pictures, none is in memory.
"""

from __future__ import annotations

import hashlib
import json
import os
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

from tinygptv.ground.errors import DataError
from tinygptv.ground.files import needing

_REMEMBERED = 8192
"""Lines near which every search begins; more would not be asked twice."""
_LINE = 4096
"""Bytes read at once; a longer line is read in pieces."""


def manifest_path(download: Path, dataset: str) -> Path:
    """Where the manifest of a data set is in the output of ``download``."""
    return download / "sets" / f"{dataset}.json-lines"


@dataclass(frozen=True, slots=True)
class RawFile:
    """A raw file: its name, the same on every machine, and what is in it."""

    name: str
    size: int
    sha256: str


class RawManifest:
    """The raw files of a data set, opened for searching."""

    def __init__(self, path: Path) -> None:
        """Open the file that ``write_manifest`` wrote.

        Raises:
            DataError: it is missing.
        """
        self._path = path
        try:
            self._handle = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            raise DataError(f"{path} is missing; run `dvc repro download`") from None
        self._size = os.fstat(self._handle).st_size
        self._from = lru_cache(_REMEMBERED)(self._line_from)

    def __del__(self) -> None:
        if handle := getattr(self, "_handle", None):
            os.close(handle)

    def __iter__(self) -> Iterator[RawFile]:
        return self._after(0)

    def find(self, name: str) -> RawFile | None:
        """The file of that name; None where there is none."""
        found = self._from(self._place(name))
        return found[1] if found is not None and found[1].name == name else None

    def below(self, start: str) -> Iterator[RawFile]:
        """The files whose names begin so, sorted."""
        for file in self._after(self._place(start)):
            if not file.name.startswith(start):
                return
            yield file

    def _place(self, name: str) -> int:
        """The first byte from which on every line has this name or a later one."""

        def is_there(place: int) -> bool:
            found = self._from(place)
            return found is None or found[1].name >= name

        return bisect_left(range(self._size), True, key=is_there)

    def _after(self, place: int) -> Iterator[RawFile]:
        while (found := self._line_from(place)) is not None:
            place, file = found
            yield file

    def _line_from(self, place: int) -> tuple[int, RawFile] | None:
        """The first line that begins at a byte or after it, and where it ends; None after the last."""
        begin = 0 if place == 0 else self._line_end(place - 1)
        if begin >= self._size:
            return None
        end = self._line_end(begin)
        try:
            return end, RawFile(**json.loads(os.pread(self._handle, end - begin, begin)))
        except (ValueError, TypeError):
            raise DataError(f"{self._path} is damaged; run `dvc repro -f -s download`") from None

    def _line_end(self, place: int) -> int:
        """Where the next line begins."""
        while part := os.pread(self._handle, _LINE, place):
            if (found := part.find(b"\n")) >= 0:
                return place + found + 1
            place += len(part)
        return self._size


def write_manifest(path: Path, files: Iterable[RawFile]) -> str:
    """Write the manifest of a data set's raw files.

    Args:
        path: the file.
        files: sorted by name.

    Returns:
        One SHA-256 over names and contents.
    """
    whole = hashlib.sha256()
    path.parent.mkdir(parents=True, exist_ok=True)
    with needing(path, 1), path.open("w", encoding="ascii") as lines:
        for file in files:
            whole.update(f"{file.name}\0{file.sha256}\n".encode(errors="surrogateescape"))
            lines.write(json.dumps(asdict(file)) + "\n")
    return whole.hexdigest()

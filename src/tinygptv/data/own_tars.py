"""Tars that others made: where each member lies, and which members make a sample, in whatever order they stand.

``data/tar_index.py`` is for the project's own, which are plainer. Nothing is unpacked; what a tar holds is known by
its headers, and these are sorted on disk.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, BinaryIO

from tinygptv.data.source import ImageFile
from tinygptv.data.tar_index import BLOCK
from tinygptv.ground.errors import DataError, brief

LARGEST_HEADER = 1 << 20
"""Bytes of an extended header, such as one with a long name."""
_CHUNK = 1 << 20
_EXTENDED = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE)


@dataclass(frozen=True, slots=True)
class Member:
    """A file in a tar."""

    name: str
    offset: int
    size: int
    plain: bool
    """Whether it is a file; not a link or a device."""


def tar_files(files: tuple[Path, ...], name: str) -> list[Path]:
    """Those of a data set's files that are tars, by their names.

    Raises:
        DataError: none is.
    """
    found = [path for path in files if path.suffix.lower() == ".tar"]
    if found:
        return found
    packed = next(
        (path for path in files if path.name.lower().endswith((".tar.gz", ".tgz", ".tar.bz2", ".tar.xz"))), None
    )
    if packed is not None:
        raise DataError(f"{packed} is compressed; unpack it to a .tar: pictures are read where they lie in it")
    raise DataError(f"data set {name} has no .tar file; name them, or their folder, in its `files`")


def read_members(path: Path) -> Iterator[Member]:
    """The members of a tar, folders left out; one header is in memory.

    Raises:
        DataError: it is damaged, cut off, compressed or no tar.
    """
    try:
        with tarfile.open(path, "r:", tarinfo=BoundedHeader) as tar:
            last = -1
            while (info := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined]  # it would keep all of them
                if info.size < 0 or info.offset <= last:
                    raise tarfile.ReadError(f"the header of {info.name!r} leads back")
                last = info.offset
                if not info.isdir():
                    yield Member(info.name, info.offset_data, info.size, info.isreg() and not info.issparse())
            _check_end(path, tar)
    except (tarfile.TarError, ValueError, OverflowError, EOFError, RecursionError) as error:
        raise DataError(
            f"{path} is damaged, compressed or no tar ({brief(error)}); get it again, or write it anew"
        ) from None


class TarSamples:
    """The samples of a tar: members that have their name up to the last dot in common, folders included."""

    def __init__(self, path: Path) -> None:
        """Read the headers.

        Raises:
            DataError: as ``read_members``.
        """
        self._base = sqlite3.connect("", isolation_level=None)
        for pragma in ("journal_mode = OFF", "cache_size = -65536"):
            self._base.execute(f"PRAGMA {pragma}")
        self._base.execute(
            "CREATE TABLE members (key BLOB, ending TEXT, name BLOB, offset INTEGER, size INTEGER, plain INTEGER)"
        )
        self._base.execute("BEGIN")
        self._base.executemany("INSERT INTO members VALUES (?, ?, ?, ?, ?, ?)", map(_row, _shown(path)))
        self._base.execute("CREATE INDEX by_key ON members (key)")
        self._base.execute("COMMIT")

    def __iter__(self) -> Iterator[tuple[str, dict[str, list[Member]]]]:
        """Key, and ending → members, in the order of the samples' first members."""
        rows = self._base.execute(
            "SELECT members.key, ending, name, offset, size, plain FROM members JOIN "
            "(SELECT key, min(rowid) AS first FROM members GROUP BY key) AS keys ON members.key = keys.key "
            "ORDER BY first, members.rowid"
        )
        for key, group in groupby(rows, key=itemgetter(0)):
            found: dict[str, list[Member]] = {}
            for _, ending, name, offset, size, plain in group:
                found.setdefault(ending, []).append(Member(_text(name), offset, size, bool(plain)))
            yield _text(key), found

    def endings(self, key: str) -> set[str]:
        """The endings of a sample's members; nothing where there is none of this key."""
        return {ending for (ending,) in self._base.execute("SELECT ending FROM members WHERE key = ?", (_bytes(key),))}

    def close(self) -> None:
        """Forget them."""
        self._base.close()


def split_name(name: str) -> tuple[str, str]:
    """Key and ending of a member: the ending is what follows the last dot, in small letters."""
    base = name.rpartition("/")[2]
    stem, _, ending = base.rpartition(".")
    return (name[: -len(ending) - 1], ending.lower()) if stem and ending else (name, "")


def image_at(path: Path, file: BinaryIO, member: Member) -> ImageFile:
    """A member as a picture, its digest computed piece by piece.

    Raises:
        DataError: the tar became shorter.
    """
    digest, left = hashlib.sha256(), member.size
    file.seek(member.offset)
    while left:
        part = file.read(min(left, _CHUNK))
        if not part:
            raise DataError(f"{path}: member {member.name!r} is cut off; get it again, or write it anew")
        digest.update(part)
        left -= len(part)
    return ImageFile(path, member.offset, member.size, digest.hexdigest())


class BoundedHeader(tarfile.TarInfo):
    """A header that loads no extended one of any size into memory."""

    def _proc_member(self, tar: Any) -> Any:
        if self.type in _EXTENDED and self.size > LARGEST_HEADER:
            raise tarfile.HeaderError(f"a header of {self.size} bytes")
        return super()._proc_member(tar)  # type: ignore[misc]


def _check_end(path: Path, tar: tarfile.TarFile) -> None:
    """tarfile takes a damaged header for the end."""
    with path.open("rb") as file:
        file.seek(tar.offset)
        if any(file.read(BLOCK)):
            raise tarfile.ReadError(f"the header at byte {tar.offset} is none")
        if file.seek(0, os.SEEK_END) < tar.offset:
            raise tarfile.ReadError("its last member is cut off")


def _shown(path: Path) -> Iterator[Member]:
    """The members without those of hidden names, which are no data."""
    return (member for member in read_members(path) if not member.name.rpartition("/")[2].startswith("."))


def _row(member: Member) -> tuple[bytes, str, bytes, int, int, bool]:
    key, ending = split_name(member.name.removeprefix("./"))
    return _bytes(key), _text(_bytes(ending)), _bytes(member.name), member.offset, member.size, member.plain


def _bytes(name: str) -> bytes:
    return name.encode(errors="surrogateescape")


def _text(name: bytes) -> str:
    return name.decode(errors="surrogateescape")

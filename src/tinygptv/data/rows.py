"""The checked records of a data set in a SQLite file: what ``shards`` sorts and cuts into blocks, in bounded memory.

Written once, in the order of the files; read by the processes that make the blocks, each its own range of keys.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import resource
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

from tinygptv.data.record_rules import RecordError, check_header, check_record
from tinygptv.data.records import KEY_DIGITS, ImageRecord, image_key, text_key
from tinygptv.data.rejections import Rejections
from tinygptv.data.source import Found, ImageFile, Rejection
from tinygptv.data.summary import SPLITS
from tinygptv.data.tar_index import LARGEST_MEMBER
from tinygptv.ground.errors import DataError, NoSpaceError, PassingError
from tinygptv.ground.files import sync_file, sync_folder
from tinygptv.ground.progress import Progress

TWICE = "the id appears twice"
_CACHE_KIB = 65_536
_LARGEST_WRITE = 65_536
"""Bytes of a page of SQLite, at most."""

Shares = Mapping[Literal["val", "test"], float]
"""Split → share of the images that it gets where the files have no splits; ``train`` gets the rest."""

_TABLES = """
CREATE TABLE rows (
    position INTEGER PRIMARY KEY, split TEXT, key TEXT, id TEXT, record BLOB,
    path BLOB, offset INTEGER, size INTEGER, sha256 TEXT
);
CREATE TABLE images (key TEXT PRIMARY KEY, content BLOB) WITHOUT ROWID;
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Sample:
    """The records of one image of a split, or one record without an image, before the image is looked at."""

    key: str
    records: tuple[bytes, ...]
    """Each as ``Record.to_json`` gives it, in the order of the files."""
    ids: tuple[str, ...]
    sha256: str
    """Of the image; empty without one."""
    image: ImageFile | None
    """Where its bytes lie; None where these rows hold them, or without one."""


class SetRows:
    """The finished rows of a data set, opened for reading."""

    def __init__(self, path: Path) -> None:
        """Open the file that ``collect`` wrote."""
        self._path = path
        self._base = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
        facts = {name: json.loads(value) for name, value in self._base.execute("SELECT name, value FROM facts")}
        self.made_of: str = facts["made_of"]
        self.found: int = facts["found"]
        """Records of the files, good and bad."""
        self.samples: dict[str, int] = facts["samples"]
        """Split → samples."""
        self.rejections = Rejections.from_json(facts["rejections"])

    def block(self, split: str, number: int, bits: int) -> list[Sample]:
        """The samples of a block, sorted by key: those whose keys begin with these bits.

        Args:
            split: the split.
            number: of the block.
            bits: how many bits of a key are the number of its block.
        """
        rest = 4 * KEY_DIGITS - bits
        first, last = (f"{edge:0{KEY_DIGITS}x}" for edge in (number << rest, ((number + 1) << rest) - 1))
        with _told(self._path):
            rows = self._base.execute(
                "SELECT key, record, id, path, offset, size, sha256 FROM rows "
                "WHERE split = ? AND key BETWEEN ? AND ? ORDER BY key, position",
                (split, first, last),
            ).fetchall()
        samples = []
        for key, group in groupby(rows, key=lambda row: str(row[0])):
            of_key = list(group)
            path, offset, size, sha256 = of_key[0][3:]
            image = None if path is None else ImageFile(Path(os.fsdecode(path)), offset, size, sha256)
            records, ids = (tuple(row[column] for row in of_key) for column in (1, 2))
            samples.append(Sample(key, records, ids, sha256, image))
        return samples

    def image_bytes(self, sample: Sample) -> bytes:
        """The bytes of a sample's image; only for one that has an image.

        Raises:
            DataError: they are not those that ``download`` saw.
        """
        if sample.image is None:
            with _told(self._path):
                (content,) = self._base.execute("SELECT content FROM images WHERE key = ?", (sample.key,)).fetchone()
            return bytes(content)
        content = None
        with suppress(FileNotFoundError):
            content = sample.image.read()
        if content is None or hashlib.sha256(content).hexdigest() != sample.sha256:
            raise DataError(f"{sample.image.path} is missing, or is not what `download` saw; run `dvc repro download`")
        return content

    def doubled(self) -> Iterator[tuple[str, Path, str, Path]]:
        """Records whose image is, byte for byte, in another file that an earlier record names.

        Returns:
            Id and file of each, and those of the first record with these bytes.
        """
        with _told(self._path):
            found = self._base.execute(
                "SELECT id, path, key, key = lag(key) OVER places FROM (SELECT id, path, key, min(position) AS first "
                "FROM rows WHERE path IS NOT NULL GROUP BY key, path, offset) WINDOW places AS (ORDER BY key, first)"
            )
            first = ("", self._path)
            for name, path, _, again in found:
                here = Path(os.fsdecode(path))
                if again:
                    yield name, here, *first
                else:
                    first = (name, here)

    def close(self) -> None:
        """Close the file."""
        self._base.close()


def collect(path: Path, dataset: str, found: Iterable[Found | Rejection], shares: Shares, made_of: str) -> None:
    """Write the good records of a data set; the file is there when all are in it.

    Args:
        path: the file.
        dataset: name of the set.
        found: what its form reads in its files.
        shares: for records that the files put in no split.
        made_of: digest of what the records come from.

    Raises:
        DataError: what the form raises.
    """
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    with _told(new), closing(sqlite3.connect(new, isolation_level=None)) as base:
        # A file that is not finished is thrown away, so that nothing need be journaled.
        for pragma in ("journal_mode = OFF", "synchronous = OFF", f"cache_size = -{_CACHE_KIB}"):
            base.execute(f"PRAGMA {pragma}")
        base.executescript(_TABLES)
        rejections = Rejections()
        count = 0
        with Progress(f"{dataset}: records", None, unit="record") as progress:
            base.execute("BEGIN")
            for count, item in enumerate(found, start=1):
                if isinstance(item, dict):
                    rejections.add([item])
                else:
                    _insert(base, count, dataset, item, shares, rejections)
                progress.update(count)
            base.execute("COMMIT")
        _reject_repeated(base, rejections)
        base.execute("CREATE INDEX by_key ON rows (split, key, position)")
        samples = dict(base.execute("SELECT split, count(DISTINCT key) FROM rows GROUP BY split"))
        facts = {
            "made_of": made_of,
            "found": count,
            "samples": {split: samples.get(split, 0) for split in SPLITS},
            "rejections": rejections.to_json(),
        }
        base.executemany("INSERT INTO facts VALUES (?, ?)", [(name, json.dumps(fact)) for name, fact in facts.items()])
    sync_file(new)
    new.replace(path)
    sync_folder(path.parent)


def open_rows(path: Path, made_of: str) -> SetRows | None:
    """The finished rows of a data set that were made of this; None where there are none."""
    if not path.is_file():
        return None
    try:
        rows = SetRows(path)
    except (sqlite3.Error, KeyError, ValueError):
        return None  # damaged: it is made again
    if rows.made_of == made_of:
        return rows
    rows.close()
    return None


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Around work with a file of SQLite, whose errors are not the system's.

    Raises:
        NoSpaceError: the disk is full.
        OSError: the file would pass the user's limit.
        PassingError: the disk does not answer.
        DataError: the file is damaged.
    """
    try:
        yield
    except sqlite3.Error as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
            raise NoSpaceError(path) from error
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_IOERR:  # the rest of the number says in which call
            if _at_limit(path):
                raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path)) from error
            raise PassingError(f"{path}: {error}; run the command again when that disk is back") from error
        raise DataError(f"{path}: {error}; remove it and run the command again") from error


def _at_limit(path: Path) -> bool:
    """Whether a file is as large as this user's files may be: to SQLite a write beyond that is a disk that fails."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    return limit != resource.RLIM_INFINITY and path.exists() and path.stat().st_size + _LARGEST_WRITE > limit


def split_of(key: str, shares: Shares) -> str:
    """The split of a sample by its key alone, so that an image falls alike wherever it occurs.

    The last 64 bits decide: the first ones are the number of the block.
    """
    place, edge = int(key[KEY_DIGITS // 2 :], 16) / 2**64, 0.0
    held_out: tuple[Literal["val", "test"], ...] = ("val", "test")
    for split in held_out:
        edge += shares.get(split, 0.0)
        if place < edge:
            return split
    return "train"


def _insert(
    base: sqlite3.Connection,
    position: int,
    dataset: str,
    item: Found,
    shares: Shares,
    rejections: Rejections,
) -> None:
    """Check a record, and write its row if it is good."""
    record, image = replace(item.record, dataset=dataset), item.image
    sha256, size = "", 0
    if isinstance(image, ImageFile):
        sha256, size = image.sha256, image.size
    elif image is not None:
        sha256, size = hashlib.sha256(image).hexdigest(), len(image)
    try:
        check_record(record, f"record {position} of {dataset}")
        key = image_key(sha256) if sha256 else text_key(dataset, record.id)
        if not sha256:
            check_header(ImageRecord(key, None, dataset, dataset, (record,)))
    except RecordError as error:
        rejections.add([{"id": error.record, "reason": error.reason}])
        return
    if size > LARGEST_MEMBER:
        rejections.add([{"id": record.id, "reason": f"the image has {size} bytes; {LARGEST_MEMBER} are the most"}])
        return
    place: tuple[Any, ...] = (None, None, None)
    if isinstance(image, ImageFile):
        place = os.fsencode(image.path), image.offset, image.size
    elif image is not None:
        base.execute("INSERT OR IGNORE INTO images VALUES (?, ?)", (key, image))
    row = (position, item.split or split_of(key, shares), key, record.id, record.to_json(), *place, sha256)
    base.execute("INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)


def _reject_repeated(base: sqlite3.Connection, rejections: Rejections) -> None:
    """Of records with one id, the first in the order of the files stays."""
    base.execute("CREATE INDEX by_id ON rows (id, position)")
    base.execute("CREATE TEMP TABLE repeated (position INTEGER PRIMARY KEY)")
    last = None
    for name, position in base.execute("SELECT id, position FROM rows ORDER BY id, position"):
        if name == last:
            base.execute("INSERT INTO repeated VALUES (?)", (position,))
            rejections.add([{"id": name, "reason": TWICE}])
        last = name
    base.execute("DROP INDEX by_id")
    base.execute("DELETE FROM rows WHERE position IN (SELECT position FROM repeated)")

"""What was fetched, in which state it was at its address, and what is missing: on disk, for there may be millions."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Self

from tinygptv.ground.errors import DataError, NoSpaceError
from tinygptv.remotes.places import is_below
from tinygptv.remotes.store import RemoteFile

NAME = ".fetched.sqlite"
_BELOW = "place = ? OR (place >= ? AND place < ?)"


class Ledger:
    """The files below a folder that were fetched; for one process at a time.

    A place is a file's path from that folder on.
    """

    def __init__(self, folder: Path) -> None:
        """Open or begin the ledger of a folder; one that is damaged is begun anew, and all is fetched again."""
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        try:
            self._base = _opened(folder / NAME)
        except sqlite3.OperationalError as error:
            raise _told(error, folder / NAME) from None
        except sqlite3.DatabaseError:
            for path in folder.glob(f"{NAME}*"):
                path.unlink()
            self._base = _opened(folder / NAME)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._base.close()
        if isinstance(error, sqlite3.Error):
            raise _told(error, self._folder / NAME) from None

    def is_whole(self, place: str) -> bool:
        """Whether all of an address that never changes was fetched, and is still as it was."""
        if self._base.execute("SELECT 1 FROM whole WHERE place = ?", (place,)).fetchone() is None:
            return False
        rows = self._base.execute(f"SELECT * FROM fetched WHERE {_BELOW}", _below(place))  # noqa: S608
        return all(self._is_here(*row) for row in rows)

    def set_whole(self, place: str) -> None:
        """Say that all of an address was fetched."""
        self._base.execute("INSERT OR IGNORE INTO whole VALUES (?)", (place,))

    def compare(self, place: str, address: str, files: Iterable[RemoteFile]) -> int:
        """Take down what lies at an address now.

        Returns:
            How many files there are.

        Raises:
            DataError: a file's path leads out of the address, or cannot be written here.
        """
        self._base.execute("DELETE FROM whole WHERE place = ?", (place,))
        self._base.execute("DELETE FROM listed")
        count = 0
        self._base.execute("BEGIN")  # closing without the end undoes it
        for file in files:
            if any(part.startswith(".") for part in file.path.split("/") if file.path and part not in (".", "..")):
                continue  # a hidden name is no data
            if file.path and not is_below(file.path):
                raise DataError(f"{address} holds {file.path!r}, which is no path below it; rename it there")
            at = f"{place}/{file.path}" if file.path else place
            row = (at, file.path, file.size, file.state, file.digest)
            try:
                self._base.execute("INSERT OR REPLACE INTO listed VALUES (?, ?, ?, ?, ?)", row)
            except UnicodeEncodeError:
                raise DataError(f"{address} holds {file.path!a}, a name that is no UTF-8; rename it there") from None
            count += 1
        self._base.execute("COMMIT")
        return count

    def missing(self) -> Iterator[tuple[str, RemoteFile]]:
        """Place and file of what ``compare`` took down and is not here in that state."""
        rows = self._base.execute(
            "SELECT listed.place, path, listed.size, listed.state, digest, fetched.state, fetched.size, changed "
            "FROM listed LEFT JOIN fetched USING (place) ORDER BY listed.place"
        )
        for place, path, size, state, digest, known, known_size, changed in rows:
            if known != state or not self._is_here(place, known, known_size, changed):
                yield place, RemoteFile(path, size, state, digest)

    def remove_vanished(self, place: str) -> None:
        """Remove what was fetched of an address that is no longer there."""
        while gone := self._base.execute(
            f"SELECT place FROM fetched WHERE ({_BELOW}) AND place NOT IN (SELECT place FROM listed) LIMIT 1000",  # noqa: S608
            _below(place),
        ).fetchall():
            for (at,) in gone:
                path = self._folder / at
                path.unlink(missing_ok=True)
                with suppress(OSError):  # others lie there still
                    for folder in path.parents:
                        folder.rmdir()
                self._base.execute("DELETE FROM fetched WHERE place = ?", (at,))

    def add(self, place: str, file: RemoteFile) -> None:
        """Take down a file that is here now."""
        found = (self._folder / place).stat()
        row = (place, file.state, found.st_size, found.st_mtime_ns)
        self._base.execute("INSERT OR REPLACE INTO fetched VALUES (?, ?, ?, ?)", row)

    def _is_here(self, place: str, state: str | None, size: int, changed: int) -> bool:
        """Whether a file that was fetched is here, untouched since."""
        if state is None:
            return False
        try:
            found = (self._folder / place).lstat()
        except OSError:
            return False
        return (found.st_size, found.st_mtime_ns) == (size, changed)


def _told(error: sqlite3.Error, path: Path) -> Exception:
    if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
        return NoSpaceError(path)
    return DataError(f"{path} cannot be used ({error}); remove it, and what it lists is fetched again")


def _below(place: str) -> tuple[str, str, str]:
    """Of a place and what is below it, for ``_BELOW``; 0 follows the slash."""
    return place, f"{place}/", f"{place}0"


def _opened(path: Path) -> sqlite3.Connection:
    base = sqlite3.connect(path, isolation_level=None)
    base.execute("PRAGMA journal_mode = WAL")
    base.execute("PRAGMA synchronous = NORMAL")
    base.execute(
        "CREATE TABLE IF NOT EXISTS fetched (place TEXT PRIMARY KEY, state TEXT, size INTEGER, changed INTEGER) "
        "WITHOUT ROWID"
    )
    base.execute("CREATE TABLE IF NOT EXISTS whole (place TEXT PRIMARY KEY) WITHOUT ROWID")
    base.execute(
        "CREATE TEMP TABLE listed (place TEXT PRIMARY KEY, path TEXT, size INTEGER, state TEXT, digest TEXT) "
        "WITHOUT ROWID"
    )
    return base

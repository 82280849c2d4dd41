"""Digests of files: those of large ones and of raw data remembered, and those of a package's files in a list inside it.

A folder with ``digests.json`` is *sealed*: ``check`` finds every file that was changed, added or taken away since. It
finds accidents. Whoever wants to deceive changes the list, too; against that stands the digest at the registry.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import file_digest
from pathlib import Path
from typing import Any, Self

from tinygptv.ground.errors import DataError
from tinygptv.ground.files import read_json, sha256_file, write_json

LIST = "digests.json"
KIND = "sha256"
REMEMBERED_FROM = 64 * 1024**2
"""Bytes; smaller files are read each time, which takes a tenth of a second at most."""
SETTLED_NS = 2_000_000_000
"""Age at which a file's dates tell a later write from the one before: two seconds on FAT, the coarsest clock."""
KEPT_TOGETHER = 1000
"""Digests that are written to the memory at once."""
PATIENCE = 10.0
"""Seconds to wait for another process that writes there."""
MEMORY = "memory.sqlite"
SHOWN = 3
"""Files that a message names."""

Dates = tuple[int, int, int, int, int]


class DigestMemory:
    """The digests of files that stayed as they were, in one SQLite file of this user, outside of what it is about.

    Both dates of a file count: that of the content can be set by anybody, that of the inode by the kernel alone. A file
    so young that another write could leave the dates as they are is read each time. A home that is full or read-only,
    or a memory that is damaged or that others may write, costs time alone.
    """

    def __init__(self, base: sqlite3.Connection | None) -> None:
        self._base = base
        self._new: list[tuple[str, str, str]] = []

    @classmethod
    @contextmanager
    def opened(cls) -> Iterator[Self]:
        """The memory, for the block."""
        base = _connect(_memory_file())
        memory = cls(base)
        try:
            yield memory
        finally:
            memory._keep()
            if base is not None:
                base.close()

    def sha256(self, path: Path) -> tuple[int, str]:
        """Size and SHA-256 of a file, read only if it is not known in this state."""
        dates = _dates(path.stat())
        known = self._recall(dates)
        if known is not None:
            return dates[2], known
        began = time.time_ns()
        with path.open("rb") as file:
            dates = _dates(os.fstat(file.fileno()))
            digest = file_digest(file, KIND).hexdigest()
            if dates == _dates(os.fstat(file.fileno())) and _settled(dates, began):
                self._remember(dates, digest)
        return dates[2], digest

    def _recall(self, dates: Dates) -> str | None:
        if self._base is None:
            return None
        try:
            row = self._base.execute("SELECT dates, sha256 FROM files WHERE file = ?", (_file(dates),)).fetchone()
        except sqlite3.Error:
            return None
        return str(row[1]) if row is not None and row[0] == repr(dates) else None

    def _remember(self, dates: Dates, digest: str) -> None:
        self._new.append((_file(dates), repr(dates), digest))
        if len(self._new) == KEPT_TOGETHER:
            self._keep()

    def _keep(self) -> None:
        """Write what is new, so that a kill forgets little; all at once, for others wait while one process writes."""
        if self._base is not None:
            with suppress(sqlite3.Error), self._base:
                self._base.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?)", self._new)
        self._new = []


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal; that of a large one from memory."""
    if path.stat().st_size < REMEMBERED_FROM:
        return sha256_file(path)
    with DigestMemory.opened() as memory:
        return memory.sha256(path)[1]


@contextmanager
def sealed(folder: Path) -> Iterator[None]:
    """Around whatever writes into a folder: its list then holds all files.

    A file that the block leaves alone keeps the digest that it had before, so that damage stays visible.
    """
    former = _read(folder) if (folder / LIST).exists() else {}
    began = time.time_ns()
    before = {name: _dates(path.stat()) for name, path in _files(folder).items()}
    yield
    digests = {}
    for name, path in _files(folder).items():
        untouched = name in before and before[name] == _dates(path.stat()) and _settled(before[name], began)
        digests[name] = former[name] if untouched and name in former else sha256(path)
    write_json(folder / LIST, {KIND: digests})


def check(folder: Path) -> bool:
    """Compare a folder with its list.

    Returns:
        False where it has no list: nothing can be said about it.

    Raises:
        DataError: a file was changed, added or taken away, or the list is none.
    """
    if not (folder / LIST).exists():
        return False
    expected, found = _read(folder), _files(folder)
    faults = [f"{name} is missing" for name in sorted(expected.keys() - found.keys())]
    faults += [f"{name} is not one of its files" for name in sorted(found.keys() - expected.keys())]
    faults += [
        f"{name} was changed" for name in sorted(expected.keys() & found) if sha256(found[name]) != expected[name]
    ]
    if faults:
        more = f" and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
        raise DataError(
            f"{folder} is not what was written there: {', '.join(faults[:SHOWN])}{more}; fetch or make it again "
            f"(`dvc checkout`), or remove its {LIST} if the change is yours"
        )
    return True


def has_all(folder: Path) -> bool:
    """Whether a folder has a list and every file that it names, changed or not."""
    return (folder / LIST).exists() and all((folder / name).is_file() for name in _read(folder))


def check_file(path: Path) -> None:
    """Compare one file with the list of its folder, where there is one that names it.

    Raises:
        DataError: the file was changed, or the list is none.
    """
    if (path.parent / LIST).exists():
        expected = _read(path.parent).get(path.name)
        if expected is not None and sha256(path) != expected:
            raise DataError(f"{path} is not what was written there: it was changed; fetch or make it again")


class SealedFolder:
    """Before transformers' own classes: what they write is sealed, and what they read is compared with its seal."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *arguments: Any, **named: Any) -> Any:
        """Open a folder as transformers does, once its files are known to be those that were written.

        Raises:
            DataError: they are not.
        """
        source = pretrained_model_name_or_path  # or a name on the hub, or None
        if isinstance(source, str | os.PathLike) and Path(source).is_dir():
            check(Path(source))
        return super().from_pretrained(source, *arguments, **named)  # type: ignore[misc]

    def save_pretrained(self, save_directory: Any, *arguments: Any, **named: Any) -> Any:
        """Write a folder as transformers does, and the digests of all its files."""
        with sealed(Path(save_directory)):
            return super().save_pretrained(save_directory, *arguments, **named)  # type: ignore[misc]


def _read(folder: Path) -> dict[str, str]:
    content = read_json(folder / LIST)
    digests = content.get(KIND) if isinstance(content, dict) else None
    if not isinstance(digests, dict) or not all(isinstance(digest, str) for digest in digests.values()):
        raise DataError(f"{folder / LIST} is no list of digests; fetch or make {folder} again (`dvc checkout`)")
    return digests


def _files(folder: Path) -> dict[str, Path]:
    """All files below a folder by their relative names, but for the list and hidden ones."""
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path for name, path in paths.items() if name != LIST and not is_hidden(name)}


def is_hidden(name: str) -> bool:
    """Whether a file is none of a package's: what a hub or a system puts beside them, such as ``.gitattributes``."""
    return any(part.startswith(".") for part in name.split("/"))


def _dates(found: os.stat_result) -> Dates:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _settled(dates: Dates, now: int) -> bool:
    return now - max(dates[3:]) > SETTLED_NS


def _file(dates: Dates) -> str:
    return f"{dates[0]:x}-{dates[1]:x}"


def _memory_file() -> Path | None:
    """Where this user's memory is: in a folder that nobody else may write; None without one."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    try:
        home = Path(base) if Path(base).is_absolute() else Path.home() / ".cache"
        folder = home / "tinygptv" / "digests"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
    except (OSError, RuntimeError):
        return None  # nobody's home, or none to write in
    own = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o022
    return folder / MEMORY if own else None


def _connect(path: Path | None) -> sqlite3.Connection | None:
    """The memory in a file; one that is damaged is forgotten."""
    for _ in range(2):
        if path is None:
            return None
        try:
            base = sqlite3.connect(path, timeout=PATIENCE)
            base.execute(
                "CREATE TABLE IF NOT EXISTS files (file TEXT PRIMARY KEY, dates TEXT, sha256 TEXT) WITHOUT ROWID"
            )
            base.execute("SELECT file, dates, sha256 FROM files LIMIT 1")
        except sqlite3.OperationalError:
            return None
        except sqlite3.DatabaseError:
            path.unlink(missing_ok=True)
        else:
            return base
    return None

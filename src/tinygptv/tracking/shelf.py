"""The folder of a profile's spools: which of them wait, which can be gone on with, which are done."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Container, Iterator
from contextlib import contextmanager
from pathlib import Path

from tinygptv.tracking.spool import files_of, last_status, read_events, read_header, shipped_until

DONE = "done"
"""Below the spools' folder: the last shipped spool of each step that ended well."""


def leftovers(folder: Path) -> list[Path]:
    """All spools of a folder, oldest first, whoever holds them."""
    return sorted(folder.glob("*.jsonl"), key=lambda path: (path.stat().st_mtime_ns, path.name))


def waiting(folder: Path) -> list[Path]:
    """The spools of a folder that hold something to ship, oldest first, whoever holds them."""
    return [path for path in leftovers(folder) if shipped_until(path) < path.stat().st_size]


@contextmanager
def claim(path: Path) -> Iterator[bool]:
    """Hold the lock of a spool that nobody holds; gives False where its writer lives or it is gone."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        yield False
        return
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield path.exists()
    finally:
        os.close(handle)


def conclude(path: Path) -> None:
    """Put away a spool that was shipped whole, for another attempt at the same work to find it.

    Where the step ended well, it takes the place of the step's former one; after an error it is of no more use; a
    killed one stays and is marked.
    """
    status = last_status(read_events(path)[0])
    header = read_header(path)
    with path.open("ab") as file:  # first: what is marked needs its files no more
        file.write(b'\n{"kind": "shipped"}\n')
    shutil.rmtree(files_of(path), ignore_errors=True)
    if header is None or status == "FAILED":
        path.unlink(missing_ok=True)
    elif status == "FINISHED":
        done = done_spool(path.parent, header.step)
        done.parent.mkdir(exist_ok=True)
        path.replace(done)


def done_spool(folder: Path, step: str) -> Path:
    """Where the last shipped spool of a step lies that ended well."""
    return folder / DONE / f"{step}.jsonl"


def bring_back(done: Path) -> Path:
    """Put the spool of a step that ended well among those that are written, for another attempt."""
    header = read_header(done)
    assert header is not None, f"{done} was chosen by its header"
    path = done.parent.parent / f"{header.step}-{header.spool}.jsonl"
    done.replace(path)
    return path


def earlier_spools(folder: Path, step: str, work: str, status: Container[str | None]) -> list[Path]:
    """Spools of attempts at the same work that ended so and were not put away, the newest first."""
    return [
        path
        for path in reversed(leftovers(folder))
        if path.name.startswith(f"{step}-")
        and (header := read_header(path)) is not None
        and header.work == work
        and last_status(read_events(path)[0]) in status
    ]


def remove_unborn(folder: Path, step: str) -> None:
    """Remove spools that were killed before they had a name; nobody else writes those of this step."""
    for path in folder.glob(f"{step}-*.tmp"):
        path.unlink(missing_ok=True)

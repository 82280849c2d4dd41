"""Marks of processes at work: files whose locks they hold, so that a mark with a free lock is of one that is gone.

A kill or a power loss frees the lock and leaves the file.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def held(mark: Path) -> Iterator[None]:
    """Hold a mark for the block; its file stays."""
    mark.parent.mkdir(parents=True, exist_ok=True)
    hidden = mark.with_name(f".{mark.name}")
    with hidden.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        hidden.rename(mark)  # with the lock: without it, it would be that of a dead one
        yield


def abandoned(folder: Path) -> Iterator[Path]:
    """The marks of a folder whose processes are gone; each is removed when the next one is asked for."""
    for mark in sorted(folder.glob("[!.]*")):
        with mark.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue  # at work
            yield mark
            mark.unlink(missing_ok=True)

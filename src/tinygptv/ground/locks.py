"""One process at a time: a lock that the kernel frees when its holder dies, and that names the holder."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tinygptv.ground.errors import BusyError

SECONDS_FOR_ORPHANS = 10.0
"""Workers of torch's loader share their parent's locks and notice within five seconds that it was killed."""


@contextmanager
def only_one(lock: Path, step: str) -> Iterator[None]:
    """Hold the step's lock; the kernel releases it when the process dies.

    Raises:
        BusyError: another process holds it; the message has its PID.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a+") as file:
        deadline = time.monotonic() + SECONDS_FOR_ORPHANS
        while not _take(file):
            file.seek(0)
            holder = file.read().strip() or "unknown"
            if _lives(holder) or time.monotonic() > deadline:
                raise BusyError(f"{step} runs already (PID {holder}); wait for it, or stop it with `kill {holder}`")
            time.sleep(0.02)  # it has not written its number yet, or it was killed and its loader's workers end
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)  # or who comes between the next holder's lock and its number would be told of this one


def _take(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _lives(pid: str) -> bool:
    import psutil

    try:
        return psutil.Process(int(pid)).status() != psutil.STATUS_ZOMBIE
    except (ValueError, psutil.NoSuchProcess):
        return False

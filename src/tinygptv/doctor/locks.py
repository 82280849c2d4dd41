"""DVC's locks: which file of ``.dvc/tmp`` keeps DVC from working, and what removes the obstacle.

Measured with DVC 3.67.1. ``lock`` and ``rwlock.lock`` are locks of the kernel: it lets go of them when their process
ends, and whatever they contain does not matter. ``rwlock`` is JSON: DVC refuses to work with one that is empty or torn,
it clears away entries of processes that are gone, and it waits for ever for a zombie or for another program that has
been given the number since.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tinygptv.doctor.findings import Finding

NAME = "DVC's lock"


def dvc_locks(root: Path) -> Iterator[Finding]:
    """All three files; one finding says that they are free."""
    folder = root / ".dvc" / "tmp"
    found = [*_kernel_lock(folder / "lock"), *_kernel_lock(folder / "rwlock.lock"), *_rwlock(folder / "rwlock")]
    yield from found or [Finding(NAME, "ok", "free")]


def _kernel_lock(path: Path) -> Iterator[Finding]:
    if not path.exists():
        return
    try:
        with path.open("rb") as file:
            holder = file.read(20).decode(errors="replace").strip() or "unknown"
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        yield Finding(NAME, "warning", f"{path.name} is held by PID {holder}", f"wait for it, or `kill {holder}`")
    except OSError as error:
        yield _unreadable(path, error)


def _rwlock(path: Path) -> Iterator[Finding]:
    try:
        pids = _holders(json.loads(path.read_text()))
    except FileNotFoundError:
        return
    except OSError as error:
        yield _unreadable(path, error)
        return
    except (ValueError, TypeError, AttributeError, LookupError):
        yield Finding(NAME, "problem", f"{path} is damaged; DVC refuses to work", f"rm -rf {path}")
        return
    state = {pid: _what_is(pid) for pid in sorted(pids)}
    if working := [str(pid) for pid, what in state.items() if what == "dvc"]:
        fix = f"wait for it, or `kill {' '.join(working)}`"
        yield Finding(NAME, "warning", f"held by PID {', '.join(working)}", fix)
    elif others := [f"PID {pid} ({what})" for pid, what in state.items() if what]:
        text = f"{path.name} names {', '.join(others)}, which is no DVC; DVC waits for it"
        yield Finding(NAME, "problem", text, f"rm {path}")
    elif state:
        yield Finding(NAME, "warning", "left by a process that is gone; DVC clears it away by itself", f"rm {path}")


def _unreadable(path: Path, error: OSError) -> Finding:
    """What is in the place of a lock, or what keeps this user from it; only the former is to be removed."""
    told = f"{path} cannot be opened ({error.strerror})"
    if isinstance(error, IsADirectoryError):
        return Finding(NAME, "problem", told, f"rm -rf {path}")
    if isinstance(error, PermissionError):
        return Finding(NAME, "problem", told, f"make it readable and writable for this user: chmod u+rw {path}")
    return Finding(
        NAME, "problem", told, "run `tinygptv doctor` again when that disk is back, or with `ulimit -n` raised"
    )


def _holders(content: Any) -> set[int]:
    """The process ids of DVC's form: ``{"write": {path: {pid, cmd}}, "read": {path: [{pid, cmd}]}}``."""
    if not content.keys() <= {"read", "write"}:
        raise LookupError(content)
    readers = [holder for holders in content.get("read", {}).values() for holder in holders]
    return {int(holder["pid"]) for holder in [*readers, *content.get("write", {}).values()]}


def _what_is(pid: int) -> str:
    """``dvc``, another program's name, or nothing where the process is gone."""
    import psutil

    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return "a zombie"
        return "dvc" if any(Path(word).name == "dvc" for word in process.cmdline()) else process.name()
    except psutil.NoSuchProcess:
        return ""
    except psutil.AccessDenied:  # another user's; better to wait for it than to take its lock
        return "dvc"

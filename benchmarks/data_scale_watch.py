"""A command and every process below it: seconds, and the peak of each one's resident memory, as Linux counts it."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

SECONDS_BETWEEN_LOOKS = 0.2
"""The kernel keeps each process's peak: only the last fifth of a second of its life can be missed."""
HELPERS = ("resource_tracker", "forkserver")
"""Processes of ``multiprocessing`` that do no work."""


@dataclass(frozen=True, slots=True)
class Watched:
    """What became of a command."""

    seconds: float
    peaks_mib: dict[str, list[float]]
    """``step``: the command itself; ``workers``: processes that it started, the largest first."""
    output: str


def watch(command: Sequence[str], environment: Mapping[str, str], folder: Path) -> Watched:
    """Run a command to its end.

    Raises:
        RuntimeError: it failed; its output is in the message.
    """
    started = time.perf_counter()
    process = subprocess.Popen(
        command, env=dict(environment), cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    peaks: dict[int, float] = {}
    over = threading.Event()
    looking = threading.Thread(target=_look, args=(process.pid, peaks, over))
    looking.start()
    output, _ = process.communicate()
    seconds = time.perf_counter() - started
    over.set()
    looking.join()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with code {process.returncode}:\n{output}")
    own = peaks.pop(process.pid, 0.0)
    return Watched(seconds, {"step": [own], "workers": sorted(peaks.values(), reverse=True)}, output)


def _look(root: int, peaks: dict[int, float], over: threading.Event) -> None:
    """Keep the highest water mark of each process until the command has ended."""
    while not over.wait(SECONDS_BETWEEN_LOOKS):
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(root)
            for each in (process, *process.children(recursive=True)):
                with suppress(psutil.NoSuchProcess, OSError):
                    if not any(helper in " ".join(each.cmdline()) for helper in HELPERS):
                        peaks[each.pid] = max(peaks.get(each.pid, 0.0), _high_water(each.pid))


def _high_water(pid: int) -> float:
    """MiB of a process at its peak; 0 where it is about to end."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0

"""Processes that outlive the command that starts them, and that another command finds and ends.

A process is known by its number and the time of its start, because numbers are used again. Whatever it starts in turn
carries its mark in the environment: so nothing is left behind, even where a process in between was killed.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psutil

from tinygptv.ground.errors import UserError
from tinygptv.ground.files import read_json, write_json

MARK = "TINYGPTV_SERVICE"
"""The environment variable with the mark."""
SAME_START_SECONDS = 2.0
"""The system's clock may have been set since the start."""
POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Known:
    """A process that was started."""

    pid: int
    started: float
    """Seconds since 1970."""

    def lives(self) -> bool:
        """Whether it is still that process, and not a dead one that nobody has collected."""
        try:
            process = psutil.Process(self.pid)
            return (
                abs(process.create_time() - self.started) < SAME_START_SECONDS
                and process.status() != psutil.STATUS_ZOMBIE
            )
        except psutil.NoSuchProcess:
            return False


class Home(Protocol):
    """Where processes are on record, and by what they are found."""

    @property
    def folder(self) -> Path:
        """The folder of the records and logs."""

    @property
    def mark(self) -> str:
        """The beginning of all marks."""


class RecordedProcess:
    """A process with a name and a home; the settings of the servers, or of the team's stores, are such a home."""

    __slots__ = ()
    name: str
    settings: Home

    @property
    def record(self) -> Path:
        """The file with its process id."""
        return self.settings.folder / f"{self.name}.json"

    @property
    def log(self) -> Path:
        """What it says."""
        return self.settings.folder / f"{self.name}.log"

    @property
    def mark(self) -> str:
        """What its processes carry in their environment."""
        return f"{self.settings.mark}/{self.name}"


def start(
    command: Sequence[str], mark: str, record: Path, log: Path, env: Mapping[str, str], cwd: Path
) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own, so that Ctrl-C in the terminal does not reach it.

    Args:
        command: what to run.
        mark: by which it and all below it are found.
        record: the file that gets number and start.
        log: the file that its output is appended to.
        env: its environment.
        cwd: its folder.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env={**env, MARK: mark},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    started = time.time()
    with suppress(psutil.NoSuchProcess):
        started = psutil.Process(process.pid).create_time()
    write_json(record, {"pid": process.pid, "started": started})
    return process


def known(record: Path) -> Known | None:
    """The process of a record, whether it lives or not; None without a record."""
    if not record.is_file():
        return None
    content = read_json(record)
    return Known(int(content["pid"]), float(content["started"]))


def marked(mark: str) -> list[psutil.Process]:
    """The living processes with a mark; those of other users cannot be looked into and have none of ours."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARK) == mark:
                found.append(process)
    return found


def end(record: Path, mark: str, patience: Sequence[float]) -> int:
    """End a process and all with its mark, and remove its record.

    Args:
        record: of the process; it alone is asked first, so that it can end in order.
        mark: of all that it started.
        patience: for how many seconds to wait after each SIGTERM to the process, and, the last one, for the rest to end
            before it is killed.

    Returns:
        How many processes there were.
    """
    process = known(record)
    count = len(marked(mark))
    for seconds in patience[:-1]:
        if process is None or not process.lives():
            break
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGTERM)
        wait_for(lambda: not process.lives(), seconds)
    for number in (signal.SIGTERM, signal.SIGKILL):
        for left in marked(mark):
            with suppress(psutil.NoSuchProcess):
                left.send_signal(number)
        if wait_for(lambda: not marked(mark), patience[-1]):
            break
    record.unlink(missing_ok=True)
    return count


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait until something holds; False after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def check_free(host: str, port: int, name: str, variable: str) -> None:
    """Refuse a port that something else holds.

    Args:
        host: the address to listen at.
        port: the port.
        name: who wants it.
        variable: the environment variable that names another one.

    Raises:
        UserError: it is taken.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise UserError(f"port {port} of {name}: {error.strerror}; set {variable} to another one") from None
            raise UserError(f"port {port} of {name} is in use; stop what listens there, or set {variable}") from None

"""Children that never outlive their parent: a guard process that owns everything its command starts.

``python processes.py --parent PID -- COMMAND...`` runs the command in a session of its own. The guard adopts
orphans (Linux' child subreaper), so that it still knows a trainer after the DVC above it was killed. When the guard is
told to stop, when its parent dies, or when the command ends, nothing of it is left. Only the standard library and
psutil are imported, so that a guard starts at once, of whichever checkout it is: it runs as a file of its own.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import FrameType

import psutil

GRACE_SECONDS = 15.0
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
LINUX = sys.platform == "linux"
_libc = ctypes.CDLL(None)


class Interrupted(BaseException):
    """SIGTERM or SIGINT arrived. Not an ``Exception``, so that no handler for errors swallows it."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number

    @property
    def exit_code(self) -> int:
        """128 + the signal's number, as shells report it: 143 for SIGTERM, 130 for SIGINT."""
        return 128 + self.number


def die_with_parent(parent: int | None = None) -> None:
    """Ask Linux for SIGTERM when the parent dies.

    Args:
        parent: its process id, where it is known: if it died before the question, this process ends at once.
    """
    if LINUX:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if parent not in (None, os.getppid()):
            os._exit(128 + signal.SIGTERM)


def guarded(command: Sequence[str]) -> list[str]:
    """The command line that runs ``command`` under a guard which dies with this process."""
    return [sys.executable, "-I", str(Path(__file__).resolve()), "--parent", str(os.getpid()), "--", *command]


def run_guarded(
    command: Sequence[str], env: Mapping[str, str] | None = None, cwd: Path | None = None, grace: float = GRACE_SECONDS
) -> int:
    """Run a command; afterwards no process that it started is left.

    On SIGTERM or SIGINT the command gets SIGTERM first and may end in order; what is left of its descendants then
    gets SIGTERM, and after ``grace`` seconds SIGKILL.

    Returns:
        The command's exit code as shells report it, or 128 + n if this process was stopped by signal n.
    """
    assert os.getpid() == _main_thread_id(), "signals and PDEATHSIG belong to the main thread"
    if LINUX:
        _libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
    former = {number: signal.signal(number, _stop) for number in (signal.SIGTERM, signal.SIGINT)}
    child: subprocess.Popen[bytes] | None = None
    try:
        die_with_me = partial(die_with_parent, os.getpid()) if LINUX else None
        child = subprocess.Popen(
            command, env=env, cwd=cwd, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=die_with_me
        )
        code = child.wait()
        code = code if code >= 0 else 128 - code
    except Interrupted as stop:
        code = stop.exit_code
    finally:
        for number in former:
            signal.signal(number, signal.SIG_IGN)  # being stopped twice changes nothing
        if child is not None:
            _end_in_order(child, grace)
        end_descendants(grace)
        for number, handler in former.items():
            signal.signal(number, handler)
    return code


def end_descendants(grace: float) -> None:
    """End every process below this one: SIGTERM, and SIGKILL after ``grace`` seconds."""
    deadline = time.monotonic() + grace
    signalled: set[tuple[int, int]] = set()
    while True:
        _reap()
        left = psutil.Process().children(recursive=True)
        if not left:
            return
        number = signal.SIGTERM if time.monotonic() < deadline else signal.SIGKILL
        for process in left:
            if (process.pid, number) not in signalled:
                signalled.add((process.pid, number))
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(number)
        time.sleep(0.02)


def _end_in_order(child: subprocess.Popen[bytes], grace: float) -> None:
    if child.poll() is None:
        child.terminate()
        with suppress(subprocess.TimeoutExpired):
            child.wait(grace)


def _reap() -> None:
    """Collect the exit codes of ended children, adopted ones included; zombies would count as alive."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _stop(number: int, frame: FrameType | None) -> None:
    raise Interrupted(number)


def _main_thread_id() -> int:
    """On Linux the main thread's id is the process id."""
    import threading

    return threading.get_native_id() if LINUX else os.getpid()


def main() -> int:
    """Guard the command given on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parent", type=int, required=True, help="process id whose death ends everything")
    parser.add_argument("command", nargs="+")
    arguments = parser.parse_args()
    die_with_parent(arguments.parent)
    return run_guarded(arguments.command)


if __name__ == "__main__":
    sys.exit(main())

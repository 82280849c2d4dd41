"""Strangers' files that can carry code, such as pickles: each is read by a program of its own.

The program's process lives for one file, knows no tokens of the caller's, writes where it is told, not much, and cannot
grow beyond what the file's size explains. Its exit codes: 0 done; with one line on stderr: 2 refused, 74 this machine
does not let it be read or written, 75 not just now.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tinygptv.ground.errors import (
    EXIT_MACHINE,
    EXIT_PASSING,
    EXIT_USER_ERROR,
    PassingError,
    UserError,
    from_write_error,
    system_error,
)
from tinygptv.ground.processes import die_with_parent

PASSED_ON = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "TMPDIR", "LANG", "LC_ALL")
"""Variables that the program gets: no token or address of a server is among them."""
HEADROOM = 2**30
"""Address space for the libraries' own work."""


def read_apart(program: Path, source: Path, *targets: Path, refused: type[UserError], fix: str) -> None:
    """Have a program read a stranger's file and write what it found to ``targets``.

    Args:
        program: a file of this package, which ends in ``run_apart``.
        source: the stranger's file.
        targets: what the program writes.
        refused: the error of a file that is damaged or not of the program's kind.
        fix: what its message ends with.

    Raises:
        UserError: whatever the program's end is, it becomes one line.
    """
    # -P: the program's folder stays off its search path, where a file could hide a module of the library.
    command = [sys.executable, "-P", str(program), str(source.resolve()), *map(str, targets)]
    environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace", check=False)
    lines = done.stderr.strip().splitlines() or ["no reason given"]
    reason = "".join(c if c.isprintable() else "?" for c in lines[-1])[:300]
    if done.returncode == EXIT_USER_ERROR:
        raise refused(f"{source} {reason}; {fix}")
    if done.returncode in (EXIT_MACHINE, EXIT_PASSING):
        raise (PassingError if done.returncode == EXIT_PASSING else UserError)(f"{source}: {reason}")
    if done.returncode:
        how = f"was ended by signal {-done.returncode}" if done.returncode < 0 else f"ended with {done.returncode}"
        raise refused(f"{source}: the process that read it {how}; the file is damaged, or memory is short")


def run_apart(main: Callable[..., None]) -> None:
    """What such a program is: ``main`` with the paths of the command line, and every error as one line."""
    die_with_parent()
    try:
        main(*map(Path, sys.argv[1:]))
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(EXIT_USER_ERROR)
    except Exception as error:  # whatever a hostile file provokes ends as one line
        told = from_write_error(error, "reading or writing it")
        print(told, file=sys.stderr)
        of_machine = EXIT_MACHINE if system_error(error) is not None else EXIT_USER_ERROR
        sys.exit(EXIT_PASSING if isinstance(told, PassingError) else of_machine)


def confine(memory: int, written: int) -> None:
    """Give this process no core dump, and no more than so many bytes of memory and of a file that it writes."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + memory + HEADROOM
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (written + 2**20, written + 2**20))
    resource.setrlimit(resource.RLIMIT_AS, (most, most))

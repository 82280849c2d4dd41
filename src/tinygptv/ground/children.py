"""Parts of a step in processes of their own."""

from __future__ import annotations

import multiprocessing
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from tinygptv.ground.errors import (
    EXIT_PASSING,
    EXIT_SOFTWARE,
    EXIT_USER_ERROR,
    NotFiniteError,
    PassingError,
    UserError,
    from_write_error,
)
from tinygptv.ground.processes import die_with_parent
from tinygptv.ground.startup import begin

if TYPE_CHECKING:
    from multiprocessing.synchronize import Event

CONTEXT = multiprocessing.get_context("spawn")


def event() -> Event:
    """What one process waits for and the other one sets."""
    return CONTEXT.Event()


@contextmanager
def child(target: Callable[..., None], *arguments: Any) -> Iterator[None]:
    """Run ``target`` in a fresh process beside the block; leaving the block waits for it, an error in it stops it.

    Raises:
        UserError: something a user can mend; the process's own message is on stderr.
        PassingError: a passing fault there, or the process was killed from outside.
        NotFiniteError: a model there computes infinities or NaN.
        RuntimeError: a bug; its traceback is on stderr.
    """
    process = CONTEXT.Process(target=_guarded, args=(target, *arguments))  # no daemon: it may have processes of its own
    process.start()
    try:
        yield
        process.join()
    finally:
        if process.is_alive():
            process.terminate()
        process.join()
    if process.exitcode:
        raise failure(target.__name__, process.exitcode)


def failure(name: str, code: int) -> Exception:
    """What a process's exit code says about its step: the same as the step's own would."""
    if code == -signal.SIGKILL:
        return PassingError(f"{name} was killed from outside: memory may be short; run the command again")
    if code in (EXIT_USER_ERROR, EXIT_PASSING):
        return (PassingError if code == EXIT_PASSING else UserError)(
            f"{name} ended with code {code}; its message is above"
        )
    if code == EXIT_SOFTWARE:
        return NotFiniteError(f"{name} ended without a result; its message is above")
    if code in (-signal.SIGTERM, -signal.SIGINT):
        return UserError(f"{name} was stopped by {signal.Signals(-code).name}; run the command again to go on")
    return RuntimeError(f"{name} ended with code {code}; its traceback is above")


def _guarded(target: Callable[..., None], *arguments: Any) -> None:
    die_with_parent()
    begin()
    try:
        target(*arguments)
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(EXIT_SOFTWARE if isinstance(error, NotFiniteError) else error.exit_code)
    except (OSError, SafetensorError) as problem:
        told = from_write_error(problem, "reading or writing files")
        print(told, file=sys.stderr)
        sys.exit(told.exit_code)

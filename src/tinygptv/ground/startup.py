"""What every program does first: it starts and ends fast, shows no secret, and outlives those who read its lines.

torch, transformers, PEFT and MLflow make a million objects that live until the program ends. Python's collector walks
over all of them several times during the imports and again at the end: 3 of the 8 seconds that importing them takes.
"""

from __future__ import annotations

import atexit
import errno
import gc
import io
import logging
import os
import sys
import traceback
from collections.abc import Callable
from functools import cache
from typing import Any

from tinygptv.ground.addresses import without_secrets

NEW_OBJECTS, YOUNG_COLLECTIONS, MIDDLE_COLLECTIONS = 100_000, 20, 100
"""How many of each until the next older generation is looked through; Python's own values are 700, 10 and 10."""
TURNS = 10_000
"""Of a waiting thread before it sleeps: tens of microseconds."""


def begin() -> None:
    """For a program's first line."""
    wait_briefly()
    spare_collector()
    keep_secrets()
    outlive_readers()


def wait_briefly() -> None:
    """Let threads of OpenMP that wait for one another sleep soon, unless the caller's environment says how they wait.

    For programs, before torch is imported. A thread that turns in a loop for milliseconds, as OpenMP has it, takes the
    cores of a busy machine from the very thread that it waits for: beside other programs a step of training takes
    several times as long. One that sleeps at once must be woken at each of a step's thousands of products. No number
    changes by it (``benchmarks/thread_waiting.py``).
    """
    if not os.environ.keys() & {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}:
        os.environ["GOMP_SPINCOUNT"] = str(TURNS)


def spare_collector() -> None:
    """Let the collector of reference cycles look rarely, and not at all at the end.

    For programs, not for libraries: it holds for the whole process. What no cycle holds is still freed at once.
    """
    gc.set_threshold(NEW_OBJECTS, YOUNG_COLLECTIONS, MIDDLE_COLLECTIONS)
    atexit.register(gc.freeze)


@cache
def keep_secrets() -> None:
    """Show tracebacks and log records, also those of libraries, without the secrets of the addresses in them."""
    make: Callable[..., logging.LogRecord] = logging.getLogRecordFactory()

    def clean_record(*arguments: object, **named: object) -> logging.LogRecord:
        record = make(*arguments, **named)
        if isinstance(record.args, tuple):  # one by one first: formatters such as uvicorn's look at them
            record.args = tuple(without_secrets(value) if isinstance(value, str) else value for value in record.args)
        try:
            said = record.getMessage()
        except (TypeError, ValueError):  # not the right number of values: the handler will say so
            return record
        if (clean := without_secrets(said)) != said:
            record.msg, record.args = clean, ()
        return record

    logging.setLogRecordFactory(clean_record)
    sys.excepthook = lambda kind, error, trace: _show(error)


def _show(error: BaseException) -> None:
    print(without_secrets("".join(traceback.format_exception(error))), end="", file=sys.stderr)


class _Unread(io.FileIO):
    """Standard output or error; when nobody is left to read it, what is written goes nowhere."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.EIO):  # a reader that has gone, a terminal that has gone
                raise
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno(), inheritable=True)  # for the children, too
        os.close(nowhere)
        return super().write(data)


def outlive_readers() -> None:
    """Go on where whoever reads this program's lines has gone: a worker that was killed, a closed terminal, `head`.

    For programs, not for libraries: without it the next ``print`` raises, and hours of work end for a line of the log.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None or stream is not getattr(sys, f"__{name}__"):
            continue  # none, or somebody's own
        stream.flush()
        raw = _Unread(stream.fileno(), "w", closefd=False)
        own = io.TextIOWrapper(
            raw if stream.write_through else io.BufferedWriter(raw),
            encoding=stream.encoding,
            errors=stream.errors,
            line_buffering=stream.line_buffering,
            write_through=stream.write_through,
        )
        setattr(sys, name, own)

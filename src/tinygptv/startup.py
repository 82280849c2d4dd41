"""What every program does first: it starts and ends fast, and shows no secret.

torch, transformers, PEFT and MLflow make a million objects that live until the program ends. Python's collector walks
over all of them several times during the imports and again at the end: 3 of the 8 seconds that importing them takes.
"""

from __future__ import annotations

import atexit
import gc
import logging
import sys
import traceback
from collections.abc import Callable
from functools import cache

from tinygptv.addresses import without_secrets

NEW_OBJECTS, YOUNG_COLLECTIONS, MIDDLE_COLLECTIONS = 100_000, 20, 100
"""How many of each until the next older generation is looked through; Python's own values are 700, 10 and 10."""


def begin() -> None:
    """For a program's first line."""
    spare_collector()
    keep_secrets()


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

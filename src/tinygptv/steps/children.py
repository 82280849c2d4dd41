"""Parts of a step in processes of their own."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from tinygptv.errors import EXIT_USER_ERROR, UserError, from_write_error
from tinygptv.startup import begin
from tinygptv.steps.signals import die_with_parent

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
        UserError: the process failed; its own message is on stderr.
    """
    process = CONTEXT.Process(target=_guarded, args=(target, *arguments), daemon=True)
    process.start()
    try:
        yield
        process.join()
    finally:
        if process.is_alive():
            process.terminate()
        process.join()
    if process.exitcode:
        raise UserError(f"{target.__name__} ended with code {process.exitcode}; its message is above")


def _guarded(target: Callable[..., None], *arguments: Any) -> None:
    die_with_parent()
    begin()
    try:
        target(*arguments)
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(EXIT_USER_ERROR)
    except (OSError, SafetensorError) as error:
        print(from_write_error(error, "reading or writing files"), file=sys.stderr)
        sys.exit(EXIT_USER_ERROR)

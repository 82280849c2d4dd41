"""Time for MLflow's requests: little for a question, for a file as much as its size needs.

MLflow's server answers an upload once it has passed the file on to its own store, and begins a download once it has
fetched it from there; the one limit of MLflow's client holds for that wait, too.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

VARIABLE = "MLFLOW_HTTP_REQUEST_TIMEOUT"
"""MLflow reads it at each request."""
REQUEST_SECONDS = 10
BYTES_A_SECOND = 4 * 1024**2
"""A slow store's; 5.5 GB get 22 minutes."""

_lock = threading.Lock()
_granted: list[int] = []
"""To transfers that are under way, in all threads of the process."""


@contextmanager
def time_for(size: int) -> Iterator[None]:
    """Let requests of the block wait as long as so many bytes need; those of other threads meanwhile, too."""
    seconds = REQUEST_SECONDS + size // BYTES_A_SECOND
    with _lock:
        _granted.append(seconds)
    settle()
    try:
        yield
    finally:
        with _lock:
            _granted.remove(seconds)
        settle()


def settle() -> None:
    """Set the limit of what is under way."""
    with _lock:
        os.environ[VARIABLE] = str(max([REQUEST_SECONDS, *_granted]))

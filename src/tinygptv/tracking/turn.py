"""Whose turn it is to move the aliases of a model, in a registry that several checkouts share.

MLflow has no conditional change of an alias, but of a name it lets only one be created: who creates ``<model>.moving``
may move, and deletes it afterwards. It is held for the few requests of a move, not while packages are measured.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tinygptv.tracking.client import SQLITE, Tracking, created

STALE_SECONDS = 60.0
"""A move takes a second; who holds a turn for longer was killed."""
POLL_SECONDS = 0.2
NOTE = "Held while aliases move (tinygptv promote, rollback). Left over by a kill, it goes with the next move."


@contextmanager
def turn(tracking: Tracking, name: str) -> Iterator[None]:
    """Wait for the right to move the aliases of a registered model, and hold it.

    A database in a file needs none of this: all who use it share the lock of ``promotion.aliases.only_promotion``.

    Args:
        tracking: the store.
        name: the registered model.

    Raises:
        MlflowException: the server cannot be reached, or this user may not remove what another one's kill left.
    """
    if tracking.uri.startswith(SQLITE):
        yield
        return
    mark = f"{name}.moving"
    _take(tracking.mlflow, mark)
    try:
        yield
    finally:
        tracking.mlflow.delete_registered_model(mark)


def _take(client: Any, mark: str) -> None:
    seen, since = None, time.monotonic()
    while not created(lambda: client.create_registered_model(mark, description=NOTE)):
        found = _made_at(client, mark)
        if found != seen:
            seen, since = found, time.monotonic()
        elif found is not None and time.monotonic() - since > STALE_SECONDS:
            client.delete_registered_model(mark)
        time.sleep(POLL_SECONDS)


def _made_at(client: Any, mark: str) -> int | None:
    """When the mark was made, by the server's clock; None where it is gone."""
    found = client.search_registered_models(f"name = '{mark}'")
    return int(found[0].creation_timestamp) if found else None

"""Whose turn it is to move the aliases of a model, in a registry that several checkouts share.

MLflow has no conditional change of an alias. Who wants to move makes a mark: a registered model of a name that nobody
else has, ``<model>.<token>.moving``. It may move once no other mark is there. A mark that was taken from somebody who
seemed dead is gone for good: when that one wakes up, it can neither go on nor remove the mark of the next. The turn is
held for the few requests of a move, not while packages are measured.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tinygptv.ground.errors import UserError
from tinygptv.tracking.client import SQLITE, Tracking

STALE_SECONDS = 60.0
"""A request takes a second; who holds a turn for longer without one was killed."""
POLL_SECONDS = 0.2
NOTE = "Held while aliases move (tinygptv promote, rollback). Left over by a kill, it goes with the next move."
END = ".moving"


class TurnLostError(UserError):
    """Somebody else took the turn, because its holder did nothing for too long."""


class AliasTurn:
    """The right to move the aliases of a model."""

    def __init__(self, client: Any, name: str) -> None:
        self._client = client
        self._name = name
        self._mark = ""
        self.changed = False
        """Whether anything was changed in this turn."""
        self.began = time.time_ns() // 1_000_000
        """Milliseconds since 1970, by the clock of a server that has marks: a later turn has a greater number."""

    def do(self, call: Callable[..., object], *arguments: object) -> None:
        """Change something in the registry, if the turn is still this one's; the turn lasts for as long again.

        Raises:
            TurnLostError: it is not.
        """
        if self._mark and not _there(lambda: self._client.update_registered_model(self._mark, NOTE)):
            raise self.lost()
        self.changed = True
        call(*arguments)

    def lost(self) -> TurnLostError:
        """The error of one whose turn was taken."""
        return TurnLostError(
            f"another promotion or rollback of {self._name} took over, because this one did nothing for "
            f"{STALE_SECONDS:.0f} s; run the command again"
        )

    def take(self) -> None:
        """Wait until no other mark is there but one's own.

        Of two who make theirs at once, each sees the other's: the earlier one waits for the other to withdraw.
        """
        watched, since = None, time.monotonic()
        while True:
            marks = self._marks()
            mine = [mark for mark in marks if mark.name == self._mark]
            if mine and len(marks) == 1:
                self.began = int(mine[0].creation_timestamp)
                return
            if mine and marks[0].name != self._mark:
                self.give_back()
            if not marks:
                self._mark = f"{self._name}.{secrets.token_hex(8)}{END}"
                self._client.create_registered_model(self._mark, description=NOTE)
                continue
            first = next(mark for mark in marks if mark.name != self._mark)
            if watched != (first.name, first.last_updated_timestamp):
                watched, since = (first.name, first.last_updated_timestamp), time.monotonic()
            elif time.monotonic() - since > STALE_SECONDS:
                self._remove(first.name)
            time.sleep(POLL_SECONDS)

    def give_back(self) -> bool:
        """Remove the own mark, and no other; False where it was taken."""
        mark, self._mark = self._mark, ""
        return not mark or self._remove(mark)

    def _remove(self, mark: str) -> bool:
        return _there(lambda: self._client.delete_registered_model(mark))

    def _marks(self) -> list[Any]:
        """All marks of the model, the same order for all who look."""
        start = f"{self._name}."  # `%` would also match other models, whose names begin alike
        found = self._client.search_registered_models(f"name LIKE '{self._name}%{END}'")
        return sorted(
            (mark for mark in found if mark.name.startswith(start)),
            key=lambda mark: (mark.creation_timestamp, mark.name),
        )


@contextmanager
def alias_turn(tracking: Tracking, name: str) -> Iterator[AliasTurn]:
    """Wait for the right to move the aliases of a registered model, and hold it.

    A database in a file needs no mark: all who use it share the lock of ``promotion.aliases.only_promotion``.

    Args:
        tracking: the store.
        name: the registered model.

    Raises:
        MlflowException: the server cannot be reached, or this user may not remove what another one's kill left.
        TurnLostError: it was taken before its end, so that its last change may have come too late.
    """
    mine = AliasTurn(tracking.mlflow, name)
    try:
        if not tracking.uri.startswith(SQLITE):
            mine.take()
        yield mine
    except BaseException:
        mine.give_back()
        raise
    if not mine.give_back() and mine.changed:
        raise mine.lost()


def _there(call: Callable[[], object]) -> bool:
    """Whether what a call changes or removes is there."""
    from mlflow.exceptions import MlflowException

    try:
        call()
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return False
    return True

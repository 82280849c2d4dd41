"""Being asked to stop."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from tinygptv.ground.processes import Interrupted, die_with_parent


@dataclass(slots=True)
class StopRequest:
    """Turns SIGTERM and SIGINT into ``Interrupted``: at once, or at the next safe point of a training loop."""

    number: int | None = None
    deferred: bool = False

    @classmethod
    def install(cls) -> StopRequest:
        """Take over SIGTERM and SIGINT, and ask Linux for SIGTERM when the parent dies."""
        request = cls.listen()
        die_with_parent()
        return request

    @classmethod
    def listen(cls) -> StopRequest:
        """Take over SIGTERM and SIGINT."""
        request = cls()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, request._receive)
        return request

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.number is not None:
            return  # a second signal changes nothing: the first is being obeyed
        self.number = number
        if not self.deferred:
            raise Interrupted(number)

    @contextmanager
    def safe_points(self) -> Iterator[None]:
        """Within this block a signal only sets the flag; ``check`` raises."""
        self.deferred = True
        try:
            yield
        finally:
            self.deferred = False

    @property
    def requested(self) -> bool:
        """Whether a signal has arrived."""
        return self.number is not None

    def check(self) -> None:
        """Raise ``Interrupted`` if a signal has arrived: call it where the state is saved."""
        if self.number is not None:
            raise Interrupted(self.number)

"""Answers said together, a token of each at a time: others join between two tokens, and who has ended makes room.

What is said beside an answer changes the last digits of its sums at most.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from tinygptv.ground.errors import NotFiniteError
from tinygptv.model.modeling import not_finite

if TYPE_CHECKING:
    from tinygptv.model.decoding.decoder import Decoder, Seen
    from tinygptv.model.decoding.slots import Slots, Tokens


@dataclass(slots=True, eq=False)
class Speech:
    """A greedy answer, while it is said and afterwards."""

    ends: Sequence[int]
    """The tokens that end it."""
    limit: int
    """Tokens at most, its end included."""
    on_token: Callable[[int], None] | None = None
    """Is told each token as it comes, that which ends it left out."""
    ids: list[int] = field(default_factory=list)
    """Its tokens, without the one that ended it."""
    cut: bool = True
    """Whether none ended it."""
    logprob: float = 0.0
    """Natural logarithm of its probability, end included where it came."""
    error: NotFiniteError | None = None
    """Why there is no answer."""
    left: bool = False
    """Nobody wants the rest of it."""

    @property
    def over(self) -> bool:
        """Whether no token comes any more."""
        return len(self.ids) >= self.limit or not self.cut or self.left or self.error is not None

    def hear(self, token: float, logprob: float, is_finite: float) -> None:
        """Take in the next token."""
        if self.over:
            return
        if not is_finite:
            self.error = not_finite()
            return
        self.logprob += logprob
        self.cut = token not in self.ends
        if self.cut:
            self.ids.append(int(token))
            if self.on_token is not None:
                self.on_token(int(token))


@dataclass(slots=True)
class _Place:
    """Where an answer is."""

    row: int
    slots: int
    """That its prompt and its whole answer take."""


class Chorus:
    """The answers of one model that are under way; for one thread."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self._slots: Slots | None = None
        self._places: dict[Speech, _Place] = {}
        self._told: tuple[Callable[[], Tokens], dict[Speech, int]] | None = None
        """A step that is on its way, and the row of each answer in it."""

    @torch.no_grad()
    def join(self, seen: Seen, speeches: Sequence[Speech]) -> None:
        """Say the first token of answers to prompts, which are used up; those that go on join the others."""
        said_B3 = self._decoder.first(seen)
        for speech, told in zip(speeches, said_B3.tolist(), strict=True):
            speech.hear(*told)
        rows = [row for row, speech in enumerate(speeches) if not speech.over]
        if not rows:
            return
        self._hear()
        used = seen.mask_BT.shape[1]
        places = self._room(seen, [used + speeches[row].limit for row in rows])
        assert self._slots is not None
        self._slots.load(seen, rows, said_B3, [place.row for place in places])
        self._places |= zip((speeches[row] for row in rows), places, strict=True)

    @torch.no_grad()
    def step(self) -> None:
        """Say a token of each answer; where steps have fixed shapes the next one is on its way meanwhile."""
        self._leave()
        if self._slots is None:
            return
        told = self._told or self._launch(self._slots)
        self._told = None
        if self._slots.fixed and any(len(speech.ids) + 1 < speech.limit for speech in self._places):
            self._told = self._launch(self._slots)
        _tell(*told)
        self._leave()

    @property
    def going(self) -> int:
        """How many answers are under way."""
        return len(self._places)

    def _launch(self, slots: Slots) -> tuple[Callable[[], Tokens], dict[Speech, int]]:
        return self._decoder.step(slots), {speech: place.row for speech, place in self._places.items()}

    def _hear(self) -> None:
        """Wait for the step that is on its way."""
        if self._told is not None:
            told, self._told = self._told, None
            _tell(*told)
        self._leave()

    def _leave(self) -> None:
        """Make room where answers are over."""
        kept = {speech: place for speech, place in self._places.items() if not speech.over}
        if self._slots is None or len(kept) == len(self._places):
            return
        self._places = kept
        if not kept:
            self._decoder.give_back(self._slots)
            self._slots = self._told = None
        elif not self._slots.fixed:
            self._slots.keep([place.row for place in kept.values()])
            for row, place in enumerate(kept.values()):
                place.row = row

    def _room(self, seen: Seen, wanted: Sequence[int]) -> list[_Place]:
        """Rows of so many slots for prompts; those under way move where that does not fit, or most rows are free."""
        former, going = self._slots, list(self._places.values())
        longest, rows = max([*wanted, *(place.slots for place in going)]), len(going) + len(wanted)
        if former is not None and former.fixed and former.room >= longest and len(former.rows_B) <= 4 * rows:
            taken = {place.row for place in going}
            free = [row for row in range(len(former.rows_B)) if row not in taken]
            if len(free) >= len(wanted):
                return [_Place(row, slots) for row, slots in zip(free[: len(wanted)], wanted, strict=True)]
        roomy = self._decoder.slots(seen, rows, longest)
        if former is not None:
            roomy.take_over(former, [place.row for place in going])
            for row, place in enumerate(going):
                place.row = row
            self._decoder.give_back(former)
        self._slots = roomy
        return [_Place(len(going) + number, slots) for number, slots in enumerate(wanted)]


def _tell(read: Callable[[], Tokens], rows: dict[Speech, int]) -> None:
    told = read()
    for speech, row in rows.items():
        speech.hear(*told[row])

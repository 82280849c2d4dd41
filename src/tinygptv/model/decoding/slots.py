"""Where decoding keeps keys, values and its place: tensors that stay where they are from token to token.

Shapes: B rows, T slots, H heads, C channels of a head.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Self

import torch

if TYPE_CHECKING:
    from tinygptv.model.decoding.decoder import Seen

STRIDE = 64
"""Slots come in multiples of it: prompts of nearly the same length share a captured step."""
Tokens = list[tuple[float, float, float]]
"""Of each row the token, the logarithm of its probability, and whether the logits were finite."""


def bucket(rows: int, slots: int) -> tuple[int, int]:
    """Rows and slots of the captured step that holds so many: a power of two, and a multiple of ``STRIDE``."""
    return 1 << (rows - 1).bit_length(), -(-slots // STRIDE) * STRIDE


class Slots:
    """Keys and values of rows, each with slots for its prompt and its answer."""

    def __init__(self, like: Iterable[Sequence[torch.Tensor]], rows: int, slots: int, *, fixed: bool) -> None:
        """Empty slots.

        Args:
            like: keys and values of each block, for their shape and format.
            rows: how many rows.
            slots: of each row.
            fixed: whether blocks see all slots at each step, and rows stay; else the slots in use and the rows kept.
        """
        self.keys: list[torch.Tensor] = []
        self.values: list[torch.Tensor] = []
        for keys_BHTC, values_BHTC, *_ in like:
            for kept, tensor in ((self.keys, keys_BHTC), (self.values, values_BHTC)):
                _, heads, _, channels = tensor.shape
                kept.append(tensor.new_zeros(rows, heads, slots, channels))
        device = self.keys[0].device
        self.fixed = fixed
        self.rows_B = torch.arange(rows, device=device)
        self.mask_B11T = torch.zeros(rows, 1, 1, slots, dtype=torch.bool, device=device)
        self.token_B, self.slot_B, self.position_B = (
            torch.zeros(rows, dtype=torch.long, device=device) for _ in range(3)
        )
        self.graph: torch.cuda.CUDAGraph | None = None
        self.said_B3: torch.Tensor | None = None
        """What the captured step says."""
        self._seen_B11 = torch.ones(rows, 1, 1, dtype=torch.bool, device=device)
        self._used = [0] * rows
        self._pinned = fixed and device.type == "cuda"
        self._host = [torch.empty(rows, 3, dtype=torch.float64, pin_memory=True) for _ in range(2 * self._pinned)]
        self._turn = 0

    @property
    def nbytes(self) -> int:
        """Bytes of keys and values."""
        return sum(tensor.nbytes for tensor in (*self.keys, *self.values))

    @property
    def room(self) -> int:
        """Slots of a row."""
        return self.mask_B11T.shape[-1]

    @property
    def window(self) -> int:
        """Slots that blocks see."""
        return self.room if self.fixed else max(self._used)

    def empty(self) -> Self:
        """Forget all prompts; what rows without one hold is read by nobody."""
        self.mask_B11T.zero_()
        for place_B in (self.token_B, self.slot_B, self.position_B):
            place_B.zero_()
        return self

    def load(self, seen: Seen, rows: Sequence[int], said_B3: torch.Tensor, at: Sequence[int]) -> None:
        """Put rows of prompts, and the first tokens of their answers, into rows ``at``."""
        used, from_B, to_B = seen.mask_BT.shape[1], self._numbers(rows), self._numbers(at)
        for mine, theirs in zip((self.keys, self.values), (0, 1), strict=True):
            for tensor, layer in zip(mine, seen.cache, strict=True):
                tensor[to_B, :, :used] = layer[theirs][from_B]
                tensor[to_B, :, used:] = 0  # whatever was here: no number that is none may be weighted with 0
        self.mask_B11T[to_B] = False
        self.mask_B11T[to_B, 0, 0, :used] = seen.mask_BT[from_B].bool()
        self.token_B[to_B] = said_B3[from_B, 0].long()
        self.slot_B[to_B] = used
        self.position_B[to_B] = seen.tokens_B[from_B]
        for row in at:
            self._used[row] = used

    def take_over(self, other: Slots, rows: Sequence[int]) -> None:
        """Put rows of other slots, which have no more of them, into the first rows."""
        used, from_B, count = other.window, self._numbers(rows), len(rows)
        for mine, theirs in ((self.keys, other.keys), (self.values, other.values)):
            for tensor, former in zip(mine, theirs, strict=True):
                tensor[:count, :, :used] = former[from_B, :, :used]
                tensor[:count, :, used:] = 0
        self.mask_B11T[:count, :, :, :used] = other.mask_B11T[from_B, :, :, :used]
        for mine_B, theirs_B in zip(self._place(), other._place(), strict=True):
            mine_B[:count] = theirs_B[from_B]
        self._used[:count] = [other._used[row] for row in rows]

    def keep(self, rows: Sequence[int]) -> None:
        """Only these rows."""
        assert not self.fixed
        at = self._numbers(rows)
        for block in range(len(self.keys)):
            self.keys[block], self.values[block] = self.keys[block][at], self.values[block][at]
        self.mask_B11T, self.rows_B, self._seen_B11 = self.mask_B11T[at], self.rows_B[: len(rows)], self._seen_B11[at]
        self.token_B, self.slot_B, self.position_B = self.token_B[at], self.slot_B[at], self.position_B[at]
        self._used = [self._used[row] for row in rows]

    def begin(self) -> None:
        """A step's own slot is seen; a row without a prompt sees nothing else."""
        self._used = [used + 1 for used in self._used]
        self.mask_B11T[self.rows_B, :, :, self.slot_B] = self._seen_B11

    def end(self) -> None:
        """The next step is one further; a row whose answer is over stays at the end."""
        self.slot_B.add_(1).clamp_(max=self.room - 1)
        self.position_B.add_(1)

    def take(self, said_B3: torch.Tensor) -> None:
        """The next step goes over these tokens."""
        self.token_B[: len(said_B3)].copy_(said_B3[:, 0])

    def state(self) -> list[torch.Tensor]:
        """The place in the answers; a step writes nothing else but its own slot."""
        return [tensor.clone() for tensor in (*self._place(), self.mask_B11T)]

    def restore(self, state: Sequence[torch.Tensor]) -> None:
        """Go back to a place."""
        for mine, theirs in zip((*self._place(), self.mask_B11T), state, strict=True):
            mine.copy_(theirs)

    def _place(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return self.token_B, self.slot_B, self.position_B

    def _numbers(self, rows: Sequence[int]) -> torch.Tensor:
        return torch.tensor(rows, device=self.rows_B.device)

    def tell(self, said_B3: torch.Tensor) -> Callable[[], Tokens]:
        """How to read what a step says: on a GPU it is copied beside the next step, and waited for when it is read."""
        if not self._pinned:
            return said_B3.tolist
        host = self._host[self._turn][: len(said_B3)]
        self._turn = 1 - self._turn
        host.copy_(said_B3, non_blocking=True)
        copied = torch.cuda.Event()
        copied.record()

        def read() -> Tokens:
            copied.synchronize()
            return host.tolist()

        return read

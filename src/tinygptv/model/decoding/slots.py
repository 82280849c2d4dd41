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
        self.fixed, self.ahead = fixed, fixed and device.type == "cuda"
        self.rows_B = torch.arange(rows, device=device)
        self.mask_B11T = torch.zeros(rows, 1, 1, slots, dtype=torch.bool, device=device)
        self.token_B, self.slot_B, self.position_B = (
            torch.zeros(rows, dtype=torch.long, device=device) for _ in range(3)
        )
        self.graph: torch.cuda.CUDAGraph | None = None
        self.said_B3: torch.Tensor | None = None
        """What the captured step says."""
        self._seen_B11 = torch.ones(rows, 1, 1, dtype=torch.bool, device=device)
        self._used = 0
        self._host = [torch.empty(rows, 3, dtype=torch.float64, pin_memory=True) for _ in range(2 * self.ahead)]
        self._turn = 0

    @property
    def nbytes(self) -> int:
        """Bytes of keys and values."""
        return sum(tensor.nbytes for tensor in (*self.keys, *self.values))

    @property
    def window(self) -> int:
        """Slots that blocks see."""
        return self.mask_B11T.shape[-1] if self.fixed else self._used

    def load(self, seen: Seen) -> Self:
        """Put prompts into the first rows; what other rows hold is finite, and read by nobody."""
        rows, used = seen.mask_BT.shape
        for mine, theirs in zip((self.keys, self.values), (0, 1), strict=True):
            for tensor, layer in zip(mine, seen.cache, strict=True):
                tensor[:rows, :, :used] = layer[theirs]
                tensor[:, :, used:] = 0
        self.mask_B11T.zero_()
        self.mask_B11T[:rows, 0, 0, :used] = seen.mask_BT.bool()
        self.token_B.zero_()
        self.slot_B.fill_(used)
        self.position_B.zero_()
        self.position_B[:rows] = seen.tokens_B
        self._used = used
        return self

    def keep(self, rows: Sequence[int]) -> None:
        """Only these rows."""
        assert not self.fixed
        at = torch.tensor(rows, device=self.rows_B.device)
        for block in range(len(self.keys)):
            self.keys[block], self.values[block] = self.keys[block][at], self.values[block][at]
        self.mask_B11T, self.rows_B, self._seen_B11 = self.mask_B11T[at], self.rows_B[: len(rows)], self._seen_B11[at]
        self.token_B, self.slot_B, self.position_B = self.token_B[at], self.slot_B[at], self.position_B[at]

    def begin(self) -> None:
        """A step's own slot is seen; a row without a prompt sees nothing else."""
        self._used += 1
        self.mask_B11T[self.rows_B, :, :, self.slot_B] = self._seen_B11

    def end(self) -> None:
        """The next step is one further."""
        self.slot_B.add_(1)
        self.position_B.add_(1)

    def take(self, said_B3: torch.Tensor) -> None:
        """The next step goes over these tokens."""
        self.token_B[: len(said_B3)].copy_(said_B3[:, 0])

    def state(self) -> list[torch.Tensor]:
        """The place in the answers; a step writes nothing else but its own slot."""
        return [tensor.clone() for tensor in (self.token_B, self.slot_B, self.position_B, self.mask_B11T)]

    def restore(self, state: Sequence[torch.Tensor]) -> None:
        """Go back to a place."""
        for mine, theirs in zip((self.token_B, self.slot_B, self.position_B, self.mask_B11T), state, strict=True):
            mine.copy_(theirs)

    def tell(self, said_B3: torch.Tensor) -> Callable[[], Tokens]:
        """How to read what a step says: on a GPU it is copied beside the next step, and waited for when it is read."""
        if not self.ahead:
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

"""One forward pass in training, and what of a language model it holds: the planner's question to an architecture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Device = Literal["cpu", "cuda"]
FLOAT32 = 4
"""Bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """One forward pass of a stage, at its longest."""

    samples: int
    """Sequences of a micro-batch."""
    tokens: int
    """Tokens of a sequence, visual tokens and padding included."""
    learned_tokens: int
    """Tokens of a sequence that may carry loss."""
    label_only: bool
    product: int
    """Bytes of a number that enters a product: 2 in bfloat16."""
    cuda: bool
    adapters: bool
    trains_input_norm: bool
    trains_rms_norm: bool
    trains_final_norm: bool
    checkpointing: bool
    compiled: bool

    @property
    def half(self) -> bool:
        """Whether products are in 16 bits."""
        return self.product < FLOAT32

    @property
    def predictions(self) -> int:
        """Positions of the micro-batch at which the loss looks at logits."""
        return self.samples * (self.learned_tokens if self.label_only else self.tokens - 1)

    @property
    def all_tokens(self) -> int:
        """Tokens of the micro-batch."""
        return self.samples * self.tokens

    def normed(self, size: int) -> int:
        """Bytes of a number that LayerNorm keeps and gives, for inputs of ``size`` bytes."""
        return FLOAT32 if self.cuda else size

    def mask(self, size: int) -> int:
        """Bytes of dropout's mask for a number of ``size`` bytes: a flag on CUDA, a factor on the CPU."""
        return 1 if self.cuda else size


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Bytes that a language model holds from forward to backward pass, all tokens of the micro-batch together."""

    first: dict[str, int]
    """What its first block keeps, by part: it may have the embeddings' number format before it."""
    later: dict[str, int]
    """What every other block keeps, by part."""
    entering: int
    """Bytes of a number before the first block."""
    stream: int
    """Bytes of a number between two blocks."""
    ends: int
    """What is kept once: turns of the positions, the last norm, copies of adapters that autocast makes."""
    working: int
    """An estimate of a block's gradients on their way."""

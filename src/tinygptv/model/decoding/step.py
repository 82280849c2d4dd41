"""What a step of decoding does in a block, and how the next token is chosen: functions that can be compiled.

Shapes: B rows, T slots, D width, H heads, C channels of a head, V vocabulary.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


@dataclass(slots=True)
class _BlockCache:
    """What a block takes for its cache: the slots of its keys and values, of which a step writes one in each row."""

    keys_BHTC: torch.Tensor
    values_BHTC: torch.Tensor
    rows_B: torch.Tensor
    slot_B: torch.Tensor

    def update(
        self, key_BH1C: torch.Tensor, value_BH1C: torch.Tensor, *_: object, **__: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write, and give all slots."""
        self.keys_BHTC[self.rows_B, :, self.slot_B] = key_BH1C[:, :, 0]
        self.values_BHTC[self.rows_B, :, self.slot_B] = value_BH1C[:, :, 0]
        return self.keys_BHTC, self.values_BHTC


def step_block(
    block: nn.Module,
    hidden_B1D: torch.Tensor,
    mask_B11T: torch.Tensor,
    turns: tuple[torch.Tensor, torch.Tensor],
    keys_BHTC: torch.Tensor,
    values_BHTC: torch.Tensor,
    rows_B: torch.Tensor,
    slot_B: torch.Tensor,
) -> torch.Tensor:
    """One block on the token that comes last [B, 1, D], which sees the slots of ``mask_B11T``."""
    cache: Any = _BlockCache(keys_BHTC, values_BHTC, rows_B, slot_B)
    result: torch.Tensor = block(
        hidden_B1D, attention_mask=mask_B11T, position_embeddings=turns, past_key_values=cache, use_cache=True
    )
    return result


def say(norm: nn.Module, head: nn.Module, hidden_B1D: torch.Tensor) -> torch.Tensor:
    """The likeliest next token of each row, the logarithm of its probability, and whether all logits are finite."""
    logits_BV = head(norm(hidden_B1D)[:, -1]).float()
    best_B, token_B = logits_BV.max(dim=1)
    gained_B, finite_B = best_B - logits_BV.logsumexp(dim=1), logits_BV.isfinite().all(dim=1)
    return torch.stack([token_B.double(), gained_B.double(), finite_B.double()], dim=1)


def twin(block: nn.Module) -> nn.Module:
    """A block of the same tensors that does not know which one it is, so that compiled code is that of all blocks."""
    shared = [*block.parameters(), *block.buffers(), *(m.config for m in block.modules() if hasattr(m, "config"))]
    other = copy.deepcopy(block, {id(thing): thing for thing in shared})
    for module in other.modules():
        if hasattr(module, "layer_idx"):
            vars(module)["layer_idx"] = 0  # a number, which annotations of nn.Module forbid
    return other

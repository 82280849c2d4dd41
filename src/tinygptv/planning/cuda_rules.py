"""How operations keep memory on CUDA, for a computation on tensors that say that they are on the CPU.

torch without CUDA can neither give a CUDA tensor a gradient nor choose a kernel of CUDA's, not even for tensors without
numbers. So the few operations that keep something else there are named here, and everything else is what torch does.
The same rules hold on a machine that has CUDA: a plan is the same everywhere.

Sources: torch's ``aten/src/ATen/autocast_mode.h`` (operations in float32), ``native/Dropout.cpp`` (a mask of flags),
``native/transformers/cuda/sdp_utils.cpp`` (which attention), ``native/layer_norm.cpp`` (RMSNorm as one operation).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
from torch.nn import functional

from tinygptv.model import frozen8bit
from tinygptv.model.language import packed

_plain_layer_norm = functional.layer_norm


def layer_norm(
    given: torch.Tensor,
    normalized_shape: Sequence[int],
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    eps: float = 1e-5,
) -> torch.Tensor:
    """In float32 under autocast, where the CPU's keeps the format of its input."""
    if torch.is_autocast_enabled("cpu"):
        given = given.float()
        weight, bias = (None if tensor is None else tensor.float() for tensor in (weight, bias))
    return _plain_layer_norm(given, list(normalized_shape), weight, bias, eps)


def rms_norm(
    given: torch.Tensor,
    normalized_shape: Sequence[int],
    weight: torch.Tensor | None = None,
    eps: float | None = None,
) -> torch.Tensor:
    """One operation, which keeps its input and a number a row; the CPU's are several."""
    result: torch.Tensor = torch.ops.aten._fused_rms_norm(given, list(normalized_shape), weight, eps)[0]
    return result


def dropout(given: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> torch.Tensor:
    """Keeps flags; the CPU's keeps factors in the format of its input."""
    return torch.native_dropout(given, p, True)[0] if training and p else given


def scaled_dot_product_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> torch.Tensor:
    """FlashAttention where it can be, in 16 bits and without a mask; else the memory-efficient kernel."""
    if torch.is_autocast_enabled("cpu"):
        query, key, value = (heads.to(torch.get_autocast_dtype("cpu")) for heads in (query, key, value))
    attend = torch.ops.aten
    if attn_mask is None and query.dtype != torch.float32:
        found = attend._scaled_dot_product_flash_attention(query, key, value, dropout_p, is_causal, scale=scale)
    else:
        if enable_gqa:
            key, value = (heads.repeat_interleave(query.shape[1] // heads.shape[1], dim=1) for heads in (key, value))
        if attn_mask is not None:
            if attn_mask.dtype == torch.bool:
                attn_mask = torch.where(attn_mask, 0.0, -math.inf).to(query.dtype)
            attn_mask = attn_mask.expand(*query.shape[:3], key.shape[2])
        found = attend._scaled_dot_product_efficient_attention(
            query, key, value, attn_mask, True, dropout_p, is_causal, scale=scale
        )
    result: torch.Tensor = found[0]
    return result


OPERATIONS: tuple[Callable[..., Any], ...] = (layer_norm, rms_norm, dropout, scaled_dot_product_attention)
"""In the place of those of ``torch.nn.functional`` with these names."""


@contextmanager
def as_on_cuda() -> Iterator[None]:
    """A context in which operations on the CPU keep what CUDA's keep."""
    with ExitStack() as changes:
        for operation in OPERATIONS:
            changes.enter_context(mock.patch.object(functional, operation.__name__, operation))
        changes.enter_context(mock.patch.object(packed, "scaled_dot_product_attention", scaled_dot_product_attention))
        changes.enter_context(mock.patch.object(frozen8bit, "as_whole", lambda *_: False))
        yield

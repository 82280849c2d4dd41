"""Attention over samples that lie behind one another in one row, without padding: none sees another.

Two kernels, one result. On a GPU of NVIDIA's Ampere generation or a later one, in 16 bits, torch's ``varlen_attn``
takes the row as it is, with heads of 8, 16, ... 256 channels. It has no form for a CPU, for float32 or for older GPUs:
there the samples are laid side by side for this one operation, with padding behind each, which no causal attention
sees, and joined again. A mask of the whole row would do as well; it computes every pair of its tokens.

Source: ``torch.nn.attention.varlen`` of torch 2.11 and 2.13, which take a cumulative length as int32 and the window
(-1, 0) as causal; the former has no word for grouped heads, so that keys and values are repeated for both.
Shapes: T tokens of a row, S samples, M tokens of the longest one, H heads, G heads of keys and values, C channels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch.nn.functional import scaled_dot_product_attention

AMPERE = (8, 0)
"""Compute capability from which on flash attention is there."""
HALVES = (torch.bfloat16, torch.float16)
CAUSAL = (-1, 0)
"""Window: all tokens before, none behind."""


@dataclass(frozen=True, slots=True)
class Boundaries:
    """Where the samples of a row [1, T] are."""

    starts: torch.Tensor
    """Number of tokens before each sample, and of all, int32 [S + 1]."""
    places: torch.Tensor
    """Places of the row's tokens among S x M of the samples side by side, int64 [T]."""
    longest: int
    """M."""
    flash: bool
    """Whether the device has flash attention."""

    def sent(self, send: Callable[[torch.Tensor], torch.Tensor]) -> Boundaries:
        """The same with its tensors where ``send`` puts them."""
        return replace(self, starts=send(self.starts), places=send(self.places))


def boundaries_of(lengths: Sequence[int], device: torch.device) -> Boundaries:
    """Where samples of these lengths, above 0, are in a row, on the CPU: for a device, which is not asked for it.

    Args:
        lengths: tokens of each sample.
        device: that the row is for.
    """
    lengths_S = torch.tensor(lengths)
    starts_S1 = torch.nn.functional.pad(lengths_S.cumsum(0), (1, 0))
    longest = max(lengths)
    shift_S = torch.arange(len(lengths)) * longest - starts_S1[:-1]
    return Boundaries(
        starts=starts_S1.int(),
        places=torch.arange(int(starts_S1[-1])) + shift_S.repeat_interleave(lengths_S),
        longest=longest,
        flash=device.type == "cuda" and torch.cuda.get_device_capability(device) >= AMPERE,
    )


def attention(
    query_1THC: torch.Tensor, key_1TGC: torch.Tensor, value_1TGC: torch.Tensor, boundaries: Boundaries, scale: float
) -> torch.Tensor:
    """Causal attention of each sample of a row to itself.

    Args:
        query_1THC: queries.
        key_1TGC: keys; several heads of queries may share one of these.
        value_1TGC: values, in the format of the products.
        boundaries: of the samples.
        scale: of the products of queries and keys.

    Returns:
        The context of all heads [1, T, H, C].
    """
    # Norms give float32; what autocast does for SDPA it does not for varlen_attn.
    heads = query_1THC[0].to(value_1TGC.dtype), key_1TGC[0].to(value_1TGC.dtype), value_1TGC[0]
    width = value_1TGC.shape[-1]
    flash = boundaries.flash and value_1TGC.dtype in HALVES and width % 8 == 0 and width <= 256
    return (in_a_row if flash else side_by_side)(*heads, boundaries, scale)[None]


def in_a_row(
    query_THC: torch.Tensor, key_TGC: torch.Tensor, value_TGC: torch.Tensor, boundaries: Boundaries, scale: float
) -> torch.Tensor:
    """As of ``attention``, on the row as it is; bits repeat under ``torch.use_deterministic_algorithms``."""
    from torch.nn.attention.varlen import varlen_attn

    group = query_THC.shape[1] // key_TGC.shape[1]
    if group > 1:
        key_TGC, value_TGC = (heads.repeat_interleave(group, dim=1) for heads in (key_TGC, value_TGC))
    starts, longest = boundaries.starts, boundaries.longest
    context_THC = varlen_attn(
        query_THC, key_TGC, value_TGC, starts, starts, longest, longest, scale=scale, window_size=CAUSAL
    )
    assert isinstance(context_THC, torch.Tensor), "the logarithms of the sums were not asked for"
    return context_THC


def side_by_side(
    query_THC: torch.Tensor, key_TGC: torch.Tensor, value_TGC: torch.Tensor, boundaries: Boundaries, scale: float
) -> torch.Tensor:
    """As of ``attention``, with padding in between, on any device."""
    samples, longest = boundaries.starts.shape[0] - 1, boundaries.longest

    def apart(heads: torch.Tensor) -> torch.Tensor:
        padded = heads.new_zeros(samples * longest, *heads.shape[1:]).index_copy(0, boundaries.places, heads)
        return padded.unflatten(0, (samples, longest)).transpose(1, 2)  # (SM)HC -> SHMC

    context_SHMC = scaled_dot_product_attention(
        apart(query_THC),
        apart(key_TGC),
        apart(value_TGC),
        is_causal=True,
        scale=scale,
        enable_gqa=query_THC.shape[1] != key_TGC.shape[1],
    )
    return context_SHMC.transpose(1, 2).flatten(0, 1).index_select(0, boundaries.places)

"""What the blocks of several language models are made of: the added norm, the rotary embedding, the way to a kernel.

Shapes: B batch, T tokens, D width, H heads, C channels of a head.
"""

from typing import Any

import torch
from torch import nn
from transformers import Cache
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.llama.modeling_llama import LlamaAttention, LlamaRMSNorm
from transformers.models.phi.modeling_phi import PhiAttention, eager_attention_forward


class TinyGPTVRMSNorm(LlamaRMSNorm):
    """RMSNorm as one operation, in float32 up to its result, which has the format of its gain.

    transformers' own rounds what it has normed to the format of its input before the gain; this rounds once, behind it.
    """

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Norm the last dimension."""
        gain_D = self.weight.float()
        normed = nn.functional.rms_norm(hidden_states.float(), gain_D.shape, gain_D, self.variance_epsilon)
        return normed.to(self.weight.dtype)


def turned(heads_BTHC: torch.Tensor, turns: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """The rotary embedding: pairs of channels turn with the position, channels beyond the turns stay.

    A pair is a channel of the first half of those that turn and its counterpart of the second half.

    Args:
        heads_BTHC: queries or keys.
        turns: cosines and sines [1 or B, T, channels that turn], the second half like the first.
    """
    half = turns[0].shape[-1] // 2
    cos, sin = (values[..., :half].unsqueeze(2) for values in turns)
    first, second = heads_BTHC[..., :half], heads_BTHC[..., half : 2 * half]
    still = heads_BTHC[..., 2 * half :]
    return torch.cat((first * cos - second * sin, second * cos + first * sin, still), dim=-1)


def attended(
    attention: PhiAttention | LlamaAttention,
    heads: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    turns: tuple[torch.Tensor, torch.Tensor],
    mask: torch.Tensor | None,
    cache: Cache | None,
    **kwargs: Any,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """What an attention makes of queries, keys and values [B, T, H, C], by the kernel that its configuration names.

    Args:
        attention: its settings count, and its place in the cache.
        heads: queries, keys and values before the rotary embedding.
        turns: as of ``turned``.
        mask: what transformers' models give their blocks.
        cache: of earlier tokens; these are added.
        kwargs: passed to the kernel.

    Returns:
        The context of all heads [B, T, H C], and the weights, where the kernel gives any.
    """
    query_BTHC, key_BTHC, value_BTHC = heads
    query_BHTC = turned(query_BTHC, turns).transpose(1, 2)
    key_BHTC = turned(key_BTHC, turns).transpose(1, 2)
    value_BHTC = value_BTHC.transpose(1, 2)
    if cache is not None:
        key_BHTC, value_BHTC = cache.update(key_BHTC, value_BHTC, attention.layer_idx)
    attend = ALL_ATTENTION_FUNCTIONS.get_interface(attention.config._attn_implementation, eager_attention_forward)
    context_BTHC, weights = attend(
        attention,
        query_BHTC,
        key_BHTC,
        value_BHTC,
        mask,
        dropout=attention.attention_dropout if attention.training else 0.0,
        scaling=attention.scaling,
        **kwargs,
    )
    return context_BTHC.reshape(*query_BTHC.shape[:-2], -1), weights

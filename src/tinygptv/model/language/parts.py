"""What the blocks of several language models are made of: the added norm, the rotary embedding, the way to a kernel.

Shapes: B batch, T tokens, D width, H heads, C channels of a head.
"""

from typing import Any

import torch
from torch import nn
from transformers import Cache, PreTrainedConfig
from transformers.cache_utils import DynamicCache
from transformers.masking_utils import create_causal_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.llama.modeling_llama import LlamaAttention, LlamaRMSNorm
from transformers.models.phi.modeling_phi import PhiAttention, eager_attention_forward

from tinygptv.model.language.packed import Boundaries, attention


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


def seen(
    config: PreTrainedConfig,
    hidden_BTD: torch.Tensor,
    attention_mask: torch.Tensor | None,
    position_ids: torch.Tensor | None,
    cache: Cache | None,
    *,
    use_cache: bool | None,
) -> tuple[torch.Tensor | None, torch.Tensor, Cache | None]:
    """What all blocks of a forward pass are given: mask, positions and cache, made where absent.

    Without a mask and a cache there is nothing to look up: causality alone is the kernel's own. transformers would ask
    the device whether the positions are those of several sequences in one row, and wait for the answer.

    Args:
        config: the language model's.
        hidden_BTD: what enters the blocks.
        attention_mask: 1 for tokens, 0 for what is not attended to [B, T]; or what transformers makes of it.
        position_ids: [B, T]; counted on from the cache where absent.
        cache: of earlier tokens.
        use_cache: whether there is to be one.
    """
    if use_cache and cache is None:
        cache = DynamicCache(config=config)
    causal = attention_mask is None and cache is None and config._attn_implementation == "sdpa"
    if position_ids is None:
        begun = 0 if cache is None else cache.get_seq_length()
        position_ids = (torch.arange(hidden_BTD.shape[1], device=hidden_BTD.device) + begun).unsqueeze(0)
    if causal:
        return None, position_ids, cache
    mask = create_causal_mask(
        config=config,
        inputs_embeds=hidden_BTD,
        attention_mask=attention_mask,
        past_key_values=cache,
        position_ids=position_ids,
    )
    return mask, position_ids, cache


def attended(
    block: PhiAttention | LlamaAttention,
    heads: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    turns: tuple[torch.Tensor, torch.Tensor],
    mask: torch.Tensor | None,
    cache: Cache | None,
    boundaries: Boundaries | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """What an attention makes of queries, keys and values [B, T, H, C], by the kernel that its configuration names.

    Args:
        block: its settings count, and its place in the cache.
        heads: queries, keys and values before the rotary embedding.
        turns: as of ``turned``.
        mask: what transformers' models give their blocks.
        cache: of earlier tokens; these are added.
        boundaries: of the samples, where they lie in one row; then there is neither mask nor cache.
        kwargs: passed to the kernel.

    Returns:
        The context of all heads [B, T, H C], and the weights, where the kernel gives any.
    """
    query_BTHC, key_BTHC, value_BTHC = turned(heads[0], turns), turned(heads[1], turns), heads[2]
    if boundaries is not None:
        assert not block.attention_dropout, "no kernel for rows drops any, and no profile asks for it"
        return attention(query_BTHC, key_BTHC, value_BTHC, boundaries, block.scaling).flatten(-2), None
    query_BHTC, key_BHTC, value_BHTC = (part.transpose(1, 2) for part in (query_BTHC, key_BTHC, value_BTHC))
    if cache is not None:
        key_BHTC, value_BHTC = cache.update(key_BHTC, value_BHTC, block.layer_idx)
    attend = ALL_ATTENTION_FUNCTIONS.get_interface(block.config._attn_implementation, eager_attention_forward)
    context_BTHC, weights = attend(
        block,
        query_BHTC,
        key_BHTC,
        value_BHTC,
        mask,
        dropout=block.attention_dropout if block.training else 0.0,
        scaling=block.scaling,
        **kwargs,
    )
    return context_BTHC.reshape(*query_BTHC.shape[:-2], -1), weights

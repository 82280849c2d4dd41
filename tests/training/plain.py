"""The plain path, beside which the fast one is held: transformers' own operations, a mask, logits everywhere."""

from __future__ import annotations

from copy import deepcopy
from types import MethodType
from unittest.mock import patch

import torch
from transformers.activations import ACT2FN
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.models.phi.modeling_phi import apply_rotary_pos_emb

from tinygptv.data.batches import Batch
from tinygptv.ground.runtime import autocast
from tinygptv.model import TinyGPTVForConditionalGeneration
from tinygptv.model.language import parts
from tinygptv.model.modeling import token_loss


def plain_turned(heads_BTHC: torch.Tensor, turns: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    width = turns[0].shape[-1]
    heads_BHTC = heads_BTHC.transpose(1, 2)
    rotated, _ = apply_rotary_pos_emb(heads_BHTC[..., :width], heads_BHTC[..., :width], *turns)
    return torch.cat((rotated, heads_BHTC[..., width:]), dim=-1).transpose(1, 2)


def plain(model: TinyGPTVForConditionalGeneration) -> TinyGPTVForConditionalGeneration:
    """The same weights, operation by operation, as transformers has them."""
    made = deepcopy(model)
    for block in made.language_model.model.layers:
        block.mlp.activation_fn = ACT2FN["gelu_new"]
        block.post_layernorm.forward = MethodType(LlamaRMSNorm.forward, block.post_layernorm)
    return made


def plain_loss(model: TinyGPTVForConditionalGeneration, batch: Batch) -> torch.Tensor:
    """With a mask for every batch, and logits at every position."""
    device = model.language_model.device
    with patch.object(parts, "turned", plain_turned), autocast(model.language_model):
        logits_BTV = model(
            input_ids=batch.input_ids.to(device),
            attention_mask=batch.attention_mask.to(device),
            image_features=batch.image_features.to(device),
            use_cache=False,
        ).logits
    return token_loss(logits_BTV, batch.labels.to(device))

"""A tiny language model at random, for tests that compare ours with its twin of a library."""

from __future__ import annotations

import torch
from torch import nn

from tinygptv.model import TinyGPTVTextConfig

TEXT = {
    "vocab_size": 40,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "partial_rotary_factor": 0.4,
    "max_position_embeddings": 64,
    "initializer_range": 0.3,
    "resid_pdrop": 0.0,
    "bos_token_id": 39,
    "eos_token_id": 39,
    "pad_token_id": 39,
}


def randomise(module: nn.Module) -> None:
    """Weights at which every part matters: norms off one, biases off zero."""
    torch.manual_seed(3)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            nn.init.normal_(parameter, mean=1.0 if "norm" in name and "weight" in name else 0.0, std=0.2)


def our_text_config(**changes: bool) -> TinyGPTVTextConfig:
    return TinyGPTVTextConfig(**TEXT, **changes)

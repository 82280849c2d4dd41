"""Llama in the files of others, which is transformers' form.

Sources: transformers' ``modeling_llama.py``; ``config.json`` of TinyLlama-1.1B-intermediate-step-1431k-3T.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from tinygptv.model.language.interface import Ignorable, PublishedFiles, Rules

if TYPE_CHECKING:
    import torch

OWN: Rules = tuple(
    (name, name)
    for name in (
        "model.embed_tokens.weight",
        *(f"model.layers.{{n}}.self_attn.{part}_proj.weight" for part in "qkvo"),
        "model.layers.{n}.self_attn.q_layernorm.{p}",
        "model.layers.{n}.self_attn.k_layernorm.{p}",
        *(f"model.layers.{{n}}.mlp.{part}_proj.weight" for part in ("gate", "up", "down")),
        "model.layers.{n}.input_layernorm.weight",
        "model.layers.{n}.post_layernorm.weight",
        "model.layers.{n}.post_attention_layernorm.weight",
        "model.norm.weight",
        "lm_head.weight",
    )
)
"""Transformers' names; ours are the same, and the added norms have those of Phi's."""
IGNORED: Ignorable = ((r".*\.rotary_emb\.inv_freq", "computed, not learned"),)
CONSTANTS = {"max_position_embeddings": 2048}
"""Of TinyLLaMA; no tensor tells them."""


def unchanged(names: Iterable[str]) -> dict[str, str]:
    """There are no older files."""
    return {name: name for name in names}


def told(tensors: Mapping[str, torch.Tensor], heads: int) -> dict[str, Any]:
    """How many heads share the keys and values; rows that are no whole heads are for the check of shapes."""
    width = tensors["model.embed_tokens.weight"].shape[-1]
    rows = tensors.get("model.layers.0.self_attn.k_proj.weight")
    channels = width // heads
    if rows is None or rows.ndim != 2 or not channels or rows.shape[0] % channels or not rows.shape[0]:
        return {"num_key_value_heads": heads}
    return {"num_key_value_heads": rows.shape[0] // channels}


FILES = PublishedFiles(
    model="TinyLLaMA",
    layouts={"separate": OWN},
    ambiguous=(),
    ignored=IGNORED,
    plain=unchanged,
    fused=None,
    inner="mlp.gate_proj",
    constants=CONSTANTS,
    told=told,
)

"""Phi in the files of others: the authors', Microsoft's and Hugging Face's.

Sources: the authors' ``modeling_phi.py``; transformers' ``convert_phi_weights_to_hf.py``; ``config.json`` of Phi-2.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from tinygptv.model.language.interface import Ignorable, PublishedFiles, Rules

OWN: Rules = tuple(
    (name, name)
    for name in (
        "model.embed_tokens.weight",
        "model.layers.{n}.self_attn.query_key_value.{p}",
        "model.layers.{n}.self_attn.dense.{p}",
        "model.layers.{n}.self_attn.q_layernorm.{p}",
        "model.layers.{n}.self_attn.k_layernorm.{p}",
        "model.layers.{n}.mlp.fc1.{p}",
        "model.layers.{n}.mlp.fc2.{p}",
        "model.layers.{n}.input_layernorm.{p}",
        "model.layers.{n}.post_layernorm.weight",
        "model.final_layernorm.{p}",
        "lm_head.{p}",
    )
)
"""The language model as the authors and transformers 4.36 name it; ours has the same names."""

SEPARATE: Rules = tuple(
    (f"model.layers.{{n}}.self_attn.{part}_proj.{{p}}", f"model.layers.{{n}}.self_attn.query_key_value.{{p}}#{part}")
    for part in "qkv"
)
"""Three matrices instead of one: transformers from 4.37 on."""

MICROSOFT: Rules = (
    ("transformer.embd.wte.weight", "model.embed_tokens.weight"),
    ("transformer.h.{n}.ln.{p}", "model.layers.{n}.input_layernorm.{p}"),
    ("transformer.h.{n}.mixer.Wqkv.{p}", "model.layers.{n}.self_attn.query_key_value.{p}"),
    ("transformer.h.{n}.mixer.out_proj.{p}", "model.layers.{n}.self_attn.dense.{p}"),
    ("transformer.h.{n}.mlp.fc1.{p}", "model.layers.{n}.mlp.fc1.{p}"),
    ("transformer.h.{n}.mlp.fc2.{p}", "model.layers.{n}.mlp.fc2.{p}"),
    ("lm_head.ln.{p}", "model.final_layernorm.{p}"),
    ("lm_head.linear.{p}", "lm_head.{p}"),
)
"""The language model in Microsoft's own files of 2023."""

AMBIGUOUS: Rules = tuple(
    (f"{block}.{leaf}.{{p}}", "model.layers.{n}.self_attn.query_key_value.{p}")
    for block, known in (("model.layers.{n}.self_attn", "query_key_value"), ("transformer.h.{n}.mixer", "Wqkv"))
    for leaf in ("Wqkv", "query_key_value", "qkv_proj", "qkv")
    if leaf != known
)
"""Names that say that a matrix is fused, and not in which order."""

IGNORED: Ignorable = ((r".*\.rotary_emb\.inv_freq", "computed, not learned"),)
CONSTANTS = {
    "partial_rotary_factor": 0.4,  # 32 of a head's 80 channels rotate
    "max_position_embeddings": 2048,
    "resid_pdrop": 0.1,
}
"""Of Phi-2; no tensor tells them."""


def unroll_sequential(names: Iterable[str]) -> dict[str, str]:
    """Names of Microsoft's first files (phi-1.5), numbered from the embedding to the head, to those of ``MICROSOFT``.

    Names of another form stay as they are.
    """
    plain = {name: name for name in names}
    head = next((hit[1] for name in plain if (hit := re.fullmatch(r"layers\.(\d+)\.linear\.weight", name))), None)
    if head is None:
        return plain
    for name in plain:
        if name == "layers.0.wte.weight":
            plain[name] = "transformer.embd.wte.weight"
        elif hit := re.fullmatch(rf"layers\.{head}\.((?:ln|linear)\..*)", name):
            plain[name] = f"lm_head.{hit[1]}"
        elif hit := re.fullmatch(r"layers\.([1-9]\d*)\.(.*)", name):
            plain[name] = f"transformer.h.{int(hit[1]) - 1}.{hit[2]}"
    return plain


FILES = PublishedFiles(
    model="Phi-2",
    layouts={"interleaved": OWN, "separate": SEPARATE + OWN, "thirds": MICROSOFT},
    ambiguous=AMBIGUOUS,
    ignored=IGNORED,
    plain=unroll_sequential,
    fused="self_attn.query_key_value",
    inner="mlp.fc1",
    constants=CONSTANTS,
    told=lambda tensors, heads: {},
)

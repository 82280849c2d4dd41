"""Names of tensors, theirs and ours, in both directions; and the names that an import leaves out, with the reason.

Sources: the authors' ``eva_vit.py``, ``Qformer.py``, ``runner_base.py`` (what a checkpoint holds); LAVIS'
``clip_vit.py``; transformers' ``modeling_clip.py`` and
``convert_blip_2_original_to_pytorch.py``. The language model's names are with its architecture (``model/language``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache

from tinygptv.model.language import AUTHORS
from tinygptv.model.language.interface import Ignorable, Rules

PARTS = {"q": 0, "k": 1, "v": 2}
"""Parts of a fused matrix, in the order of all layouts here."""

BLOCK, LAYER = "vision_model.encoder.layers.{n}.", "qformer.encoder.layer.{n}."

EVA: Rules = (
    ("cls_token", "vision_model.embeddings.class_embedding"),
    ("pos_embed", "vision_model.embeddings.position_embedding"),
    ("patch_embed.proj.{p}", "vision_model.embeddings.patch_embedding.{p}"),
    ("blocks.{n}.norm1.{p}", BLOCK + "layer_norm1.{p}"),
    ("blocks.{n}.attn.qkv.weight", BLOCK + "self_attn.qkv.weight"),
    ("blocks.{n}.attn.q_bias", BLOCK + "self_attn.qkv.bias#q"),
    ("blocks.{n}.attn.v_bias", BLOCK + "self_attn.qkv.bias#v"),
    ("blocks.{n}.attn.proj.{p}", BLOCK + "self_attn.projection.{p}"),
    ("blocks.{n}.norm2.{p}", BLOCK + "layer_norm2.{p}"),
    ("blocks.{n}.mlp.fc1.{p}", BLOCK + "mlp.fc1.{p}"),
    ("blocks.{n}.mlp.fc2.{p}", BLOCK + "mlp.fc2.{p}"),
)
"""The image tower in the authors' file."""

BLIP2_TOWER: Rules = tuple(
    (name, name)
    for name in (
        "vision_model.embeddings.class_embedding",
        "vision_model.embeddings.position_embedding",
        "vision_model.embeddings.patch_embedding.{p}",
        BLOCK + "layer_norm1.{p}",
        BLOCK + "self_attn.qkv.{p}",
        BLOCK + "self_attn.projection.{p}",
        BLOCK + "layer_norm2.{p}",
        BLOCK + "mlp.fc1.{p}",
        BLOCK + "mlp.fc2.{p}",
    )
)
"""The image tower in a Hugging Face folder of BLIP-2; ours has the same names."""

_RESIDUAL = "transformer.resblocks.{n}."
CLIP: Rules = (
    ("class_embedding", "vision_model.embeddings.class_embedding"),
    ("positional_embedding", "vision_model.embeddings.position_embedding.weight"),
    ("conv1.weight", "vision_model.embeddings.patch_embedding.weight"),
    ("ln_pre.{p}", "vision_model.pre_layrnorm.{p}"),
    (_RESIDUAL + "ln_1.{p}", BLOCK + "layer_norm1.{p}"),
    *((f"{_RESIDUAL}attn.in_proj_{{p}}#{part}", f"{BLOCK}self_attn.{part}_proj.{{p}}") for part in PARTS),
    (_RESIDUAL + "attn.out_proj.{p}", BLOCK + "self_attn.out_proj.{p}"),
    (_RESIDUAL + "ln_2.{p}", BLOCK + "layer_norm2.{p}"),
    (_RESIDUAL + "mlp.c_fc.{p}", BLOCK + "mlp.fc1.{p}"),
    (_RESIDUAL + "mlp.c_proj.{p}", BLOCK + "mlp.fc2.{p}"),
)
"""CLIP's image tower as OpenAI and LAVIS name it. Where a tensor makes three of ours, its name carries the part."""

CLIP_TOWER: Rules = tuple((ours, ours) for _, ours in CLIP)
"""CLIP's image tower in a Hugging Face folder; ours has the same names."""

_THEIRS = "Qformer.bert.encoder.layer.{n}."
QFORMER: Rules = (
    ("query_tokens", "query_tokens"),
    ("ln_vision.{p}", "vision_model.post_layernorm.{p}"),
    ("Qformer.bert.embeddings.LayerNorm.{p}", "qformer.layernorm.{p}"),
    *(
        (f"{_THEIRS}{kind}.self.{matrix}.{{p}}", f"{LAYER}{kind}.attention.{matrix}.{{p}}")
        for kind in ("attention", "crossattention")
        for matrix in ("query", "key", "value")
    ),
    *(
        (f"{_THEIRS}{same}.{{p}}", f"{LAYER}{same}.{{p}}")
        for same in (
            "attention.output.dense",
            "attention.output.LayerNorm",
            "crossattention.output.dense",
            "crossattention.output.LayerNorm",
            "intermediate_query.dense",
            "output_query.dense",
            "output_query.LayerNorm",
        )
    ),
)
"""Q-Former, queries and the LayerNorm before them in the authors' file."""

BLIP2_QFORMER: Rules = tuple((ours, ours) for _, ours in QFORMER)
"""The same in a Hugging Face folder of BLIP-2; ours has the same names."""

_ADAPTED = tuple(f"{AUTHORS.blocks}.{{n}}.{m}.lora_{a}.weight" for m in AUTHORS.lora_targets for a in "AB")
CHECKPOINT: Rules = (
    ("llama_proj.{p}", "projector.linear_1.{p}"),
    ("llama_proj2.{p}", "projector.linear_2.{p}"),
    *((f"llama_model.{theirs}", f"language_model.{ours}") for theirs, ours in AUTHORS.files.layouts["interleaved"]),
    *((f"llama_model.{name}", f"language_model.{name}") for name in _ADAPTED),
    *((theirs, f"image_encoder.{ours}") for theirs, ours in QFORMER),
)
"""A checkpoint of the authors' runner, without PEFT's additions to the names."""

POSITION_IDS = "Qformer.bert.embeddings.position_ids"
"""A buffer, 0, 1, 2, …, that the authors' files hold although nothing reads it once the text branch is gone."""
_COUNTED: Ignorable = ((re.escape(POSITION_IDS), "counted, not learned; an export writes it again"),)

IGNORED_OF_TOWER: Ignorable = (
    (r"(norm|fc_norm|head)\.(weight|bias)", "the authors' tower ends without a norm or a head of its own"),
    (
        r"ln_(post|final)\.(weight|bias)|proj|visual_projection\.weight",
        "CLIP's end for one vector an image; the Q-Former takes all, with a norm of its own",
    ),
    (r"text_model\..*|text_projection\.weight|logit_scale", "CLIP's text side"),
    (r"vision_model\.embeddings\.position_ids", "counted, not learned"),
    (r"vision_model\.post_layernorm\..*", "the norm before the Q-Former is read with the Q-Former"),
    (r"query_tokens|qformer\..*", "the Q-Former is read from the file given for it"),
    (r"language_(model|projection)\..*", "BLIP-2's language model; TinyGPT-V has Phi"),
)
IGNORED_OF_QFORMER: Ignorable = (
    (
        r"Qformer\.bert\.embeddings\.(word|position|token_type)_embeddings\.weight"
        r"|Qformer\.bert\.encoder\.layer\.\d+\.(intermediate|output)\..*|Qformer\.bert\.pooler\..*"
        r"|qformer\.embeddings\..*|qformer\.encoder\.layer\.\d+\.(intermediate|output)\..*",
        "the Q-Former's text branch; the image goes through its queries alone",
    ),
    (r"Qformer\.cls\..*", "the Q-Former's head for words, used in its own pretraining"),
    (r"(vision_proj|text_proj|itm_head)\.(weight|bias)|temp", "heads of the Q-Former's own pretraining"),
    (r"(t5|opt|llm)_(proj|model)\..*|language_(model|projection)\..*", "BLIP-2's language model; TinyGPT-V has Phi"),
    (r"visual_encoder\..*|vision_model\.(embeddings|encoder)\..*", "the tower is read from the file given for it"),
    *_COUNTED,
)
IGNORED_OF_CHECKPOINT: Ignorable = (*AUTHORS.files.ignored, *_COUNTED)
EXTRAS = {
    "optimizer": "the optimizer's state; training starts anew",
    "config": "the authors' configuration of the run",
    "scaler": "the state of their loss scaling",
    "epoch": "their count of epochs",
}
"""What the authors' runner saves beside ``model``."""


def with_parts(theirs: Iterable[str]) -> list[str]:
    """Names of theirs, with ``#q``, ``#k`` and ``#v`` where one tensor holds what are three of ours."""
    joined = re.compile(r"transformer\.resblocks\.\d+\.attn\.in_proj_(weight|bias)")
    return [part for name in theirs for part in ([f"{name}#{p}" for p in PARTS] if joined.fullmatch(name) else [name])]


@dataclass(slots=True)
class Matches:
    """Their names, sorted by what becomes of them."""

    mapped: dict[str, str] = field(default_factory=dict)
    """Theirs to ours."""
    ignored: dict[str, str] = field(default_factory=dict)
    """Theirs to the reason."""
    unknown: list[str] = field(default_factory=list)


def match(names: Iterable[str], rules: Rules, ignorable: Ignorable) -> Matches:
    """Sort names by the first rule that fits."""
    found = Matches()
    for name in names:
        if (ours := translate(name, rules)) is not None:
            found.mapped[name] = ours
        elif (reason := next((why for what, why in ignorable if re.fullmatch(what, name)), None)) is not None:
            found.ignored[name] = reason
        else:
            found.unknown.append(name)
    return found


def translate(name: str, rules: Rules) -> str | None:
    """Our name of a tensor of theirs, or None."""
    for pattern, target in _compiled(rules):
        if hit := pattern.fullmatch(name):
            return target.format(**hit.groupdict())
    return None


def reverse(rules: Rules) -> Rules:
    """The same rules from ours to theirs."""
    return tuple((ours, theirs) for theirs, ours in rules)


@cache
def _compiled(rules: Rules) -> tuple[tuple[re.Pattern[str], str], ...]:
    groups = {r"\{n\}": r"(?P<n>0|[1-9]\d*)", r"\{p\}": "(?P<p>weight|bias)"}
    found = []
    for theirs, ours in rules:
        pattern = re.escape(theirs)
        for mark, group in groups.items():
            pattern = pattern.replace(mark, group)
        found.append((re.compile(pattern), ours))
    return tuple(found)


def plain_checkpoint_name(name: str) -> str:
    """A name of a checkpoint without the prefix and infixes that PEFT's versions add."""
    from tinygptv.model.adapters import own_name

    return own_name(name.replace("llama_model.base_model.model.", "llama_model.", 1))


def checkpoint_name(ours: str, *, lora: bool) -> str:
    """The authors' name in a checkpoint: as PEFT 0.2 wrote it with adapters, and without any in stage 1."""
    name = translate(ours, reverse(CHECKPOINT))
    assert name is not None, ours
    return name.replace("llama_model.", "llama_model.base_model.model.", 1) if lora else name

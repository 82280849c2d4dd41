"""The model's configuration from the shapes of its tensors (by our names), for what shapes can tell.

What they cannot tell: the heads, which the caller gives, and constants of the published language model.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from transformers import Blip2QFormerConfig, Blip2VisionConfig, CLIPVisionConfig

from tinygptv.ground.errors import CheckpointError
from tinygptv.model.configuration import TinyGPTVConfig
from tinygptv.model.language import AUTHORS, architecture_of
from tinygptv.model.language.interface import Architecture

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig

Tensors = Mapping[str, "torch.Tensor"]


def text_config(
    origin: str, tensors: Tensors, heads: int, end_of_text_id: int = 0, architecture: Architecture = AUTHORS
) -> PreTrainedConfig:
    """The language model's.

    Raises:
        CheckpointError: a tensor that tells a size is missing, or the heads do not divide the width.
    """
    vocab_size, hidden_size = _shape(origin, tensors, f"{architecture.embedding}.weight", 2)
    check_heads(origin, hidden_size, heads, "text")
    files, blocks = architecture.files, architecture.blocks
    return architecture.config(
        vocab_size=vocab_size,
        hidden_size=hidden_size,
        intermediate_size=_shape(origin, tensors, f"{blocks}.0.{files.inner}.weight", 2)[0],
        num_hidden_layers=_count(origin, tensors, rf"{re.escape(blocks)}\.(\d+)\."),
        num_attention_heads=heads,
        **files.constants,
        **files.told(tensors, heads),
        bos_token_id=end_of_text_id,
        eos_token_id=end_of_text_id,
        pad_token_id=end_of_text_id,
    )


def vision_config(origin: str, tensors: Tensors, heads: int) -> Blip2VisionConfig | CLIPVisionConfig:
    """The image tower's; its image size is the one at which its positions were learned.

    Raises:
        CheckpointError: a tensor that tells a size is missing, or the heads do not divide the width.
    """
    hidden_size, _, patch_size, _ = _shape(origin, tensors, "vision_model.embeddings.patch_embedding.weight", 4)
    table = "vision_model.embeddings.position_embedding"
    is_clip = f"{table}.weight" in tensors
    shape = _shape(origin, tensors, f"{table}.weight", 2) if is_clip else _shape(origin, tensors, table, 3)
    patches = shape[-2] - 1  # one position is the class's
    side = math.isqrt(max(patches, 0))
    if side * side != patches or not patches:
        raise CheckpointError(f"{origin}: {patches} positions beside the class's are no square of patches")
    check_heads(origin, hidden_size, heads, "vision")
    return (CLIPVisionConfig if is_clip else Blip2VisionConfig)(
        image_size=side * patch_size,
        patch_size=patch_size,
        hidden_size=hidden_size,
        num_hidden_layers=_count(origin, tensors, r"vision_model\.encoder\.layers\.(\d+)\."),
        num_attention_heads=heads,
        intermediate_size=_shape(origin, tensors, "vision_model.encoder.layers.0.mlp.fc1.weight", 2)[0],
    )


def qformer_config(origin: str, tensors: Tensors, heads: int) -> Blip2QFormerConfig:
    """The Q-Former's.

    Raises:
        CheckpointError: a tensor that tells a size is missing, or the heads do not divide the width.
    """
    hidden_size = _shape(origin, tensors, "query_tokens", 3)[2]
    check_heads(origin, hidden_size, heads, "qformer")
    layers = _count(origin, tensors, r"qformer\.encoder\.layer\.(\d+)\.")
    crossing = sorted(_numbers(tensors, r"qformer\.encoder\.layer\.(\d+)\.crossattention\."))
    return Blip2QFormerConfig(
        hidden_size=hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=_shape(origin, tensors, "qformer.encoder.layer.0.intermediate_query.dense.weight", 2)[0],
        cross_attention_frequency=crossing[1] - crossing[0] if len(crossing) > 1 else layers,
        encoder_hidden_size=_shape(origin, tensors, "qformer.encoder.layer.0.crossattention.attention.key.weight", 2)[
            1
        ],
    )


def check_heads(origin: str, width: int, heads: int, part: str) -> None:
    """Heads share a width evenly.

    Raises:
        CheckpointError: they do not.
    """
    if heads < 1 or width % heads:
        raise CheckpointError(f"{origin}: {heads} heads (heads[{part!r}]) do not divide its width {width}")


def _shape(origin: str, tensors: Tensors, name: str, dimensions: int) -> tuple[int, ...]:
    if name not in tensors:
        raise CheckpointError(f"{origin} lacks {name}, which tells the sizes; it is incomplete or of another model")
    shape = tuple(tensors[name].shape)
    if len(shape) != dimensions or not all(shape):
        raise CheckpointError(f"{origin}: {name} has shape {shape}, where {dimensions} dimensions are needed")
    return shape


def _count(origin: str, tensors: Tensors, pattern: str) -> int:
    numbers = sorted(_numbers(tensors, pattern))
    if numbers != list(range(len(numbers))):
        wrong = next(n for n, found in enumerate(numbers) if n != found)
        where = pattern.replace("\\", "").replace("(d+).", f"{wrong}")
        raise CheckpointError(f"{origin} lacks {where}, though later layers are there; it is incomplete")
    return len(numbers)


def _numbers(names: Iterable[str], pattern: str) -> set[int]:
    return {int(hit[1]) for name in names if (hit := re.match(pattern, name))}


def check_rotary(origin: str, config: PreTrainedConfig) -> None:
    """Channels rotate in pairs.

    Raises:
        CheckpointError: with the published model's share of rotating channels they cannot.
    """
    files, channels = architecture_of(config).files, config.hidden_size // config.num_attention_heads
    share = files.constants.get("partial_rotary_factor", 1.0)
    if int(channels * share) % 2:
        raise CheckpointError(
            f"{origin}: heads of {channels} channels (heads['text'] = {config.num_attention_heads}) are not "
            f"{files.model}'s, whose share of rotating channels ({share}) would be odd"
        )


def summary(config: TinyGPTVConfig) -> dict[str, int]:
    """The sizes that the tensors told."""
    text, vision, qformer = config.text_config, config.vision_config, config.qformer_config
    return {
        "vocabulary": text.vocab_size,
        "text_width": text.hidden_size,
        "text_layers": text.num_hidden_layers,
        "text_mlp": text.intermediate_size,
        "vision_width": vision.hidden_size,
        "vision_layers": vision.num_hidden_layers,
        "vision_mlp": vision.intermediate_size,
        "patch": vision.patch_size,
        "positions_of_pixels": vision.image_size,
        "qformer_width": qformer.hidden_size,
        "qformer_layers": qformer.num_hidden_layers,
        "qformer_mlp": qformer.intermediate_size,
        "queries": config.num_query_tokens,
        "projection": config.projection_size,
    }

"""The model's configuration in transformers' form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from transformers import (
    AutoConfig,
    Blip2QFormerConfig,
    Blip2VisionConfig,
    CLIPVisionConfig,
    PreTrainedConfig,
)
from transformers.configuration_utils import SubConfigSpec

if TYPE_CHECKING:
    from tinygptv.config import Model, Vision

LN_VISION_EPS = 1e-5
"""The authors' ``ln_vision`` has torch's default; BLIP-2's own configuration would give it 1e-6."""
TOWERS = {"eva": Blip2VisionConfig, "clip": CLIPVisionConfig}
"""Image towers by their names in a profile."""


class TinyGPTVConfig(PreTrainedConfig):
    """Image tower, Q-Former, two projections and language model.

    ``vision_config`` is BLIP-2's (EVA-CLIP) or CLIP's; its ``model_type`` tells which.

    ``image_token_id`` is ``text_config.vocab_size``: one past the embedding, so that no text can produce it.
    """

    model_type = "tinygptv"
    sub_configs_defaults: ClassVar[dict[str, Any]] = {
        "vision_config": SubConfigSpec(AutoConfig, model_type=Blip2VisionConfig.model_type),
        "qformer_config": Blip2QFormerConfig,
        "text_config": SubConfigSpec(AutoConfig, model_type="tinygptv_text"),
    }

    vision_config: Any = None
    qformer_config: Any = None
    text_config: Any = None
    num_query_tokens: int = 32
    projection_size: int = 4096
    initializer_range: float = 0.02

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        self.qformer_config.encoder_hidden_size = self.vision_config.hidden_size

    @property
    def image_token_id(self) -> int:
        """Id of an image slot in ``input_ids``."""
        return int(self.text_config.vocab_size)


def image_config(model: Model) -> TinyGPTVConfig:
    """The ``model`` section of a profile, for its image side: nothing there reads ``text_config``, a default."""
    return TinyGPTVConfig(**image_parts(model))


def image_parts(model: Model) -> dict[str, Any]:
    """All of the ``model`` section that is not the language model's, as keys of the configuration."""
    qformer = model.qformer
    return {
        "vision_config": tower_config(model.vision, model.initializer_range),
        "qformer_config": Blip2QFormerConfig(
            hidden_size=qformer.hidden_size,
            num_hidden_layers=qformer.num_hidden_layers,
            num_attention_heads=qformer.num_attention_heads,
            intermediate_size=qformer.intermediate_size,
            cross_attention_frequency=qformer.cross_attention_frequency,
            initializer_range=model.initializer_range,
        ),
        "num_query_tokens": qformer.num_query_tokens,
        "projection_size": model.projection_size,
        "initializer_range": model.initializer_range,
    }


def tower_config(vision: Vision, initializer_range: float) -> PreTrainedConfig:
    """The ``model.vision`` section as the configuration of its tower."""
    return TOWERS[vision.tower](
        image_size=vision.image_size,
        patch_size=vision.patch_size,
        hidden_size=vision.hidden_size,
        num_hidden_layers=vision.num_hidden_layers,
        num_attention_heads=vision.num_attention_heads,
        intermediate_size=vision.intermediate_size,
        initializer_range=initializer_range,
    )

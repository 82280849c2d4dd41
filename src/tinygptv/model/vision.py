"""The frozen half: image tower, Q-Former and its queries, from pixels to a few vectors.

Source: paper, section 3.1; the authors' ``minigpt4/models/minigpt_v2.py`` (encode_img), ``eva_vit.py``, ``Qformer.py``.
Shapes: B images, C colours, H height, W width, P patches + 1, Q queries, D width.
"""

import torch
from torch import nn
from transformers import Blip2QFormerModel, Blip2VisionModel, initialization
from transformers.models.blip_2.modeling_blip_2 import Blip2PreTrainedModel

from tinygptv.model.configuration import LN_VISION_EPS, TinyGPTVConfig


class TinyGPTVImageEncoder(Blip2PreTrainedModel):
    """BLIP-2's ViT and Q-Former with the learned queries between them."""

    config: TinyGPTVConfig
    main_input_name = "pixel_values"
    base_model_prefix = "image_encoder"
    _keep_in_fp32_modules = ["query_tokens", "qformer"]  # noqa: RUF012 (the base's form)

    def __init__(self, config: TinyGPTVConfig) -> None:
        super().__init__(config)
        self.vision_model = Blip2VisionModel._from_config(config.vision_config)
        self.vision_model.post_layernorm.eps = LN_VISION_EPS
        self.query_tokens = nn.Parameter(torch.zeros(1, config.num_query_tokens, config.qformer_config.hidden_size))
        self.qformer = Blip2QFormerModel._from_config(config.qformer_config)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if module is self:
            initialization.normal_(self.query_tokens, std=self.config.initializer_range)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Turn images into visual vectors.

        Positions are interpolated (bicubic) where the images are larger than those the tower learned on.

        Args:
            pixel_values: normalised pixels [B, C, H, W].

        Returns:
            Q-Former outputs [B, Q, D], before any projection.
        """
        hidden_BPD = self.vision_model(
            pixel_values=pixel_values.to(self.vision_model.dtype), interpolate_pos_encoding=True
        ).last_hidden_state
        query_BQD = self.query_tokens.expand(pixel_values.shape[0], -1, -1)
        return self.qformer(query_embeds=query_BQD, encoder_hidden_states=hidden_BPD).last_hidden_state

"""The frozen half: image tower, Q-Former and its queries, from pixels to a few vectors.

Source: paper, section 3.1; the authors' ``minigpt4/models/minigpt_v2.py`` (encode_img), ``eva_vit.py``, ``Qformer.py``;
for CLIP's tower LAVIS' ``clip_vit.py`` (BLIP-2 ViT-L: the last block is left out, LayerNorm on every output).
Shapes: N images, B images of a batch, C colours, H height, W width, P patches + 1, Q queries, D width.
"""

import torch
from torch import nn
from transformers import Blip2QFormerModel, Blip2VisionModel, CLIPVisionModel, initialization
from transformers.models.blip_2.modeling_blip_2 import Blip2PreTrainedModel

from tinygptv.ground import runtime
from tinygptv.model.configuration import LN_VISION_EPS, TinyGPTVConfig


class TinyGPTVImageEncoder(Blip2PreTrainedModel):
    """An image tower and BLIP-2's Q-Former with the learned queries between them."""

    config: TinyGPTVConfig
    main_input_name = "pixel_values"
    base_model_prefix = "image_encoder"
    _keep_in_fp32_modules_strict = ["query_tokens", "qformer"]  # noqa: RUF012 (the base's form)

    def __init__(self, config: TinyGPTVConfig) -> None:
        super().__init__(config)
        self.is_clip = config.vision_config.model_type == "clip_vision_model"
        tower = CLIPVisionModel if self.is_clip else Blip2VisionModel
        self.vision_model = tower._from_config(config.vision_config)
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
        if self.is_clip:  # CLIP's model norms the class token alone, BLIP-2's has normed all of them
            hidden_BPD = self.vision_model.post_layernorm(hidden_BPD)
        query_BQD = self.query_tokens.expand(pixel_values.shape[0], -1, -1)
        return self.qformer(query_embeds=query_BQD, encoder_hidden_states=hidden_BPD).last_hidden_state

    @property
    def position_table_PD(self) -> torch.Tensor:
        """The learned positions [P, D], the class token's first."""
        table = self.vision_model.embeddings.position_embedding
        return table.weight if self.is_clip else table[0]


def compile_blocks(encoder: TinyGPTVImageEncoder) -> None:
    """Fuse what lies between the products of the tower's blocks, if Triton is there."""
    from torch.utils._triton import has_triton

    for block in encoder.vision_model.encoder.layers if has_triton() else ():
        block.compile(options=runtime.untimed() if torch.are_deterministic_algorithms_enabled() else None)


def encode_filled(encoder: TinyGPTVImageEncoder, pixels_NCHW: torch.Tensor, batch_size: int) -> torch.Tensor:
    """Q-Former outputs [N, Q, D] of at most a batch of images, in a forward pass of a whole batch.

    What is missing is filled up with zeros: an image's bits depend neither on its neighbours nor on their count.
    """
    missing = batch_size - len(pixels_NCHW)
    pixels_BCHW = torch.nn.functional.pad(pixels_NCHW, (0,) * 7 + (missing,)) if missing else pixels_NCHW
    with torch.inference_mode():
        return encoder(pixels_BCHW.to(encoder.device))[: len(pixels_NCHW)]

"""What turns images into rows of features: the frozen image encoder at the profile's fixed batch shape.

Shapes: B images of a batch, C colours, H height, W width, Q queries, D width.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tinygptv.data.feature_rows import RowMaker

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image
    from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

    from tinygptv.config import Config
    from tinygptv.model.vision import TinyGPTVImageEncoder


def row_maker(config: Config, backbones: Path, sizes: Iterable[int], device: torch.device) -> RowMaker:
    """What makes rows of features for a profile.

    Rows are stored in the number format in which autocast would hand them to the projection: bfloat16 beside matrices
    in bfloat16, float32 beside others.

    Args:
        config: the profile.
        backbones: output of the step ``backbones``.
        sizes: the resolutions, in pixels of a side.
        device: where the encoder runs.

    Raises:
        CheckpointError: the encoder's file is missing or does not fit.
    """
    import torch

    from tinygptv.model.backbones import image_encoder
    from tinygptv.model.processing import build_image_processor

    dtype = getattr(torch, config.runtime.dtype)
    qformer = config.model.qformer
    encoder = image_encoder(config.model, backbones, dtype).to(device)
    return RowMaker(
        encode=partial(_encode, encoder, dtype),
        pixels={size: partial(_pixels, build_image_processor(size)) for size in sizes},
        empty=torch.empty(0, qformer.num_query_tokens, qformer.hidden_size, dtype=dtype),
        batch_size=config.features.batch_size,
        threads=config.runtime.threads,
    )


def _encode(encoder: TinyGPTVImageEncoder, dtype: torch.dtype, pixels_BCHW: torch.Tensor) -> torch.Tensor:
    """Q-Former outputs [B, Q, D] of pixels [B, C, H, W]."""
    import torch

    with torch.inference_mode():
        return encoder(pixels_BCHW.to(encoder.device)).to(dtype).cpu()


def _pixels(processor: BlipImageProcessorPil, image: Image) -> torch.Tensor:
    """Pixels [C, H, W] of an image."""
    pixels_CHW: torch.Tensor = processor([image], return_tensors="pt")["pixel_values"][0]
    return pixels_CHW

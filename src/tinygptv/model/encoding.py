"""From an image to the frozen encoder's input and from there to a row of features, in the loop as before it.

Shapes: N images, B images of a batch, C colours, H height, W width, Q queries, D width.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tinygptv.data.images import MIN_SIDE

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image
    from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

    from tinygptv.config import Config
    from tinygptv.model.vision import TinyGPTVImageEncoder


def encoder_of(config: Config, backbones: Path, device: torch.device) -> Callable[[torch.Tensor], torch.Tensor]:
    """What encodes pixels [N, C, H, W] of at most a batch to Q-Former outputs [N, Q, D], at the profile's batch shape.

    Rows are in the number format in which autocast would hand them to the projection: bfloat16 beside matrices in
    bfloat16, float32 beside others.

    Args:
        config: the profile.
        backbones: output of the step ``backbones``.
        device: where the encoder runs; rows come to the CPU.

    Raises:
        CheckpointError: the encoder's file is missing or does not fit.
    """
    import torch

    from tinygptv.model.backbones import image_encoder

    dtype = getattr(torch, config.runtime.dtype)
    encoder = image_encoder(config.model, backbones, dtype).to(device)
    return partial(_encode, encoder, dtype, config.features.batch_size)


def _encode(
    encoder: TinyGPTVImageEncoder, dtype: torch.dtype, batch_size: int, pixels_NCHW: torch.Tensor
) -> torch.Tensor:
    from tinygptv.model.vision import encode_filled

    return encode_filled(encoder, pixels_NCHW, batch_size).to(dtype).cpu()


class Pixels:
    """What an image processor does, to the bit, in a fraction of its time: resized values are looked up.

    The processor copies each image through three forms before and after it makes it smaller, and computes in float64.
    A resized value is one of 256, and what becomes of it depends on its colour alone.
    """

    def __init__(self, processor: BlipImageProcessorPil) -> None:
        """Let the processor say what becomes of each value.

        Args:
            processor: it resizes to a fixed size, rescales and normalises.
        """
        import numpy as np
        from PIL import Image

        self._size = processor.size["width"], processor.size["height"]
        self._resample = Image.Resampling(processor.resample)
        ramp_HWC = np.broadcast_to(np.arange(256, dtype=np.uint8)[None, :, None], (MIN_SIDE, 256, 3))
        processed = processor([Image.fromarray(ramp_HWC)], do_resize=False, return_tensors="np")
        self._values_CV = processed["pixel_values"][0][:, 0]

    def __call__(self, image: Image) -> torch.Tensor:
        """Pixels [C, H, W] of an RGB image, ready for the encoder."""
        import numpy as np
        import torch

        resized_HWC = np.asarray(image.resize(self._size, self._resample))
        planes = [np.take(values_V, resized_HWC[..., colour]) for colour, values_V in enumerate(self._values_CV)]
        return torch.from_numpy(np.stack(planes))

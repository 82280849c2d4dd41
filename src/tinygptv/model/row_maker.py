"""What turns images into rows of features: the frozen image encoder at the profile's fixed batch shape."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from tinygptv.data.feature_rows import RowMaker
from tinygptv.model.encoding import Pixels, encoder_of

if TYPE_CHECKING:
    import torch

    from tinygptv.config import Config


def row_maker(config: Config, backbones: Path, sizes: Iterable[int], device: torch.device) -> RowMaker:
    """What makes rows of features for a profile.

    Args:
        config: the profile.
        backbones: output of the step ``backbones``.
        sizes: the resolutions, in pixels of a side.
        device: where the encoder runs.

    Raises:
        CheckpointError: the encoder's file is missing or does not fit.
    """
    import torch

    from tinygptv.model.processing import build_image_processor

    dtype, qformer = getattr(torch, config.runtime.dtype), config.model.qformer
    return RowMaker(
        encode=encoder_of(config, backbones, device),
        pixels={size: Pixels(build_image_processor(size)) for size in sizes},
        empty=torch.empty(0, qformer.num_query_tokens, qformer.hidden_size, dtype=dtype),
        batch_size=config.features.batch_size,
        threads=config.runtime.threads,
    )

"""Backbones from their files: a module without memory takes the tensors as they are, so that the weights exist once.

The image tower is in ``runtime.dtype``, the Q-Former in float32, as BLIP-2's. The language model trains with its large
matrices in ``runtime.dtype`` and everything else in float32, under autocast, so that the residual stream is float32, as
in the authors' code.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tinygptv.ground.errors import CheckpointError
from tinygptv.ground.file_names import IMAGE_ENCODER
from tinygptv.model.weights import load_weights

if TYPE_CHECKING:
    import torch
    from torch import nn

    from tinygptv.config import Model
    from tinygptv.model.vision import TinyGPTVImageEncoder

TOWER = "vision_model."
"""Prefix of the image encoder's tensors that are in ``runtime.dtype``."""


def fill(module: nn.Module, path: Path, dtype: torch.dtype) -> None:
    """Give a module the tensors of a file, which must have exactly its names and shapes.

    Raises:
        CheckpointError: lists missing, unknown and misshapen tensors.
    """
    tensors, expected = load_weights(path), module.state_dict()
    check_fit(expected, tensors, str(path), "repeat its step")
    formats = formats_of(module, dtype)
    module.load_state_dict({name: tensors[name].to(formats[name]) for name in expected}, strict=True, assign=True)


def check_fit(expected: Mapping[str, torch.Tensor], tensors: Mapping[str, torch.Tensor], origin: str, fix: str) -> None:
    """Tensors must have exactly the names and shapes of the configuration's model.

    Raises:
        CheckpointError: lists missing, unknown and misshapen tensors.
    """
    missing, unknown = sorted(expected.keys() - tensors.keys()), sorted(tensors.keys() - expected.keys())
    misshapen = sorted(n for n in expected.keys() & tensors.keys() if expected[n].shape != tensors[n].shape)
    problems = {"missing": missing, "unknown": unknown, "of another shape": misshapen}
    if any(problems.values()):
        listed = "; ".join(f"{what}: {', '.join(names[:5])}" for what, names in problems.items() if names)
        raise CheckpointError(f"{origin} does not fit the configuration's model ({listed}); {fix}")


def formats_of(module: nn.Module, dtype: torch.dtype) -> dict[str, torch.dtype]:
    """Number format of every tensor of an image encoder, or of a language model that will train."""
    import torch
    from torch import nn

    from tinygptv.model.vision import TinyGPTVImageEncoder

    if isinstance(module, TinyGPTVImageEncoder):
        return {name: dtype if name.startswith(TOWER) else torch.float32 for name in module.state_dict()}
    formats = dict.fromkeys(module.state_dict(), torch.float32)
    for prefix, part in module.named_modules():
        if isinstance(part, nn.Linear | nn.Embedding):
            formats |= {f"{prefix}.{name}": dtype for name in part.state_dict()}
    return formats


def image_encoder(model: Model, backbones: Path, dtype: torch.dtype) -> TinyGPTVImageEncoder:
    """The frozen image encoder of a profile.

    Raises:
        CheckpointError: its file is missing or does not fit.
    """
    from accelerate import init_empty_weights

    from tinygptv.model.configuration import image_config
    from tinygptv.model.vision import TinyGPTVImageEncoder

    with init_empty_weights(include_buffers=False):
        encoder = TinyGPTVImageEncoder(image_config(model))
    fill(encoder, backbones / IMAGE_ENCODER, dtype)
    return encoder.eval()

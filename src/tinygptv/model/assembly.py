"""Building the model of a profile from its backbones, in the number formats that training and inference use.

The model is laid out without memory and takes the tensors of the files as they are, so that the weights exist once.
The image tower is in ``runtime.dtype``, the Q-Former in float32, as BLIP-2's. The language model trains with its large
matrices in ``runtime.dtype`` and everything else in float32, under autocast, so that the residual stream is float32, as
in the authors' code; for inference all of it is in ``runtime.dtype``, as it is when a saved folder is opened.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tinygptv.ground.errors import CheckpointError
from tinygptv.model.weights import IMAGE_ENCODER, LANGUAGE_MODEL, load_weights

if TYPE_CHECKING:
    import torch
    from torch import nn

    from tinygptv.config import Config, Model
    from tinygptv.model.modeling import TinyGPTVForConditionalGeneration
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


def for_inference(model: TinyGPTVForConditionalGeneration, dtype: torch.dtype) -> TinyGPTVForConditionalGeneration:
    """Put projection and language model, but for adapters, into the format in which they answer; in place."""
    for part in (model.projector, model.language_model):
        for name, parameter in part.named_parameters():
            if ".lora_" not in name:
                parameter.data = parameter.data.to(dtype)
    return model.eval()


def image_encoder(model: Model, backbones: Path, dtype: torch.dtype) -> TinyGPTVImageEncoder:
    """The frozen image encoder of a profile.

    Raises:
        CheckpointError: its file is missing or does not fit.
    """
    from accelerate import init_empty_weights

    from tinygptv.model.configuration import from_profile
    from tinygptv.model.vision import TinyGPTVImageEncoder

    with init_empty_weights(include_buffers=False):
        encoder = TinyGPTVImageEncoder(from_profile(model, end_of_text_id=0))
    fill(encoder, backbones / IMAGE_ENCODER, dtype)
    return encoder.eval()


def assemble(config: Config, backbones: Path, *, with_tower: bool) -> TinyGPTVForConditionalGeneration:
    """Backbones and a fresh projection (torch's default initialisation, from the global seed).

    Args:
        config: the profile.
        backbones: the folder of the step.
        with_tower: False leaves the image encoder without memory, for training on cached features.

    Raises:
        CheckpointError: a file is missing or does not fit.
    """
    import torch
    from accelerate import init_empty_weights

    from tinygptv.model.configuration import from_profile
    from tinygptv.model.modeling import TinyGPTVForConditionalGeneration, TinyGPTVProjector
    from tinygptv.model.processing import check_vocabulary, read_tokenizer

    tokenizer = read_tokenizer(backbones)
    check_vocabulary(tokenizer, config.model.text.vocab_size)
    sizes = from_profile(config.model, tokenizer.eos_token_id)
    dtype = getattr(torch, config.runtime.dtype)
    with init_empty_weights(include_buffers=False):
        model = TinyGPTVForConditionalGeneration(sizes)
    model.projector = TinyGPTVProjector(sizes)
    fill(model.language_model, backbones / LANGUAGE_MODEL, dtype)
    if with_tower:
        model.image_encoder = image_encoder(config.model, backbones, dtype)
    return model

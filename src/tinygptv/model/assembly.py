"""Building the model of a profile from its backbones, in the number formats that training and inference use.

Those of training are the backbones' own (``model/backbones.py``); for inference all of the language model is in
``runtime.dtype``, as it is when a saved folder is opened.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tinygptv.ground.file_names import LANGUAGE_MODEL
from tinygptv.model.backbones import fill, image_encoder

if TYPE_CHECKING:
    import torch

    from tinygptv.config import Config
    from tinygptv.model.modeling import TinyGPTVForConditionalGeneration


def for_inference(model: TinyGPTVForConditionalGeneration, dtype: torch.dtype) -> TinyGPTVForConditionalGeneration:
    """Put projection and language model, but for adapters, into the format in which they answer; in place."""
    for part in (model.projector, model.language_model):
        for name, parameter in part.named_parameters():
            if ".lora_" not in name:
                parameter.data = parameter.data.to(dtype)
    return model.eval()


def assemble(config: Config, backbones: Path, *, with_tower: bool) -> TinyGPTVForConditionalGeneration:
    """Backbones and a fresh projection (torch's default initialisation, from the global seed).

    Args:
        config: the profile.
        backbones: the folder of the step.
        with_tower: False leaves the image encoder without memory, for training on cached features.

    Raises:
        UserError: ``runtime.dtype`` is a number format in which the language model overflows.
        CheckpointError: a file is missing or does not fit.
    """
    import torch
    from accelerate import init_empty_weights

    from tinygptv.model.language import architecture_of
    from tinygptv.model.modeling import TinyGPTVForConditionalGeneration, TinyGPTVProjector
    from tinygptv.model.processing import check_vocabulary, read_tokenizer
    from tinygptv.model.profile import from_profile

    tokenizer = read_tokenizer(backbones)
    check_vocabulary(tokenizer, config.model.text.vocab_size)
    sizes = from_profile(config.model, tokenizer.eos_token_id, tokenizer.bos_token_id)
    architecture_of(sizes.text_config).check_format(sizes.text_config, config.runtime.dtype)
    dtype = getattr(torch, config.runtime.dtype)
    with init_empty_weights(include_buffers=False):
        model = TinyGPTVForConditionalGeneration(sizes)
    model.projector = TinyGPTVProjector(sizes)
    fill(model.language_model, backbones / LANGUAGE_MODEL, dtype)
    if with_tower:
        model.image_encoder = image_encoder(config.model, backbones, dtype)
    return model

"""What every training stage does to the model it was given: adapters, what trains, memory levers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from tinygptv.config import Config
    from tinygptv.model.adapters import FreezeTable
    from tinygptv.model.modeling import TinyGPTVForConditionalGeneration


def prepare(
    model: TinyGPTVForConditionalGeneration, config: Config, name: str, device: torch.device | None = None
) -> FreezeTable:
    """Make a model, in place, what a stage trains.

    Args:
        model: with the adapters of earlier stages, if they had any.
        config: the profile.
        name: the stage.
        device: where matrices in 8 bits will be; None: where they are.

    Returns:
        What of it trains.
    """
    from tinygptv.model import adapters, int8

    stage = config.stage(name)
    if "lora" in stage.trainable and not adapters.has_lora(model):
        adapters.add_lora(model, config.model.lora)
    table = adapters.freeze(model, stage.trainable)
    if stage.base_8bit:
        threshold = config.quantize.outlier_threshold
        int8.quantize_base(model.language_model, outlier_threshold=threshold, device=device)
    if stage.gradient_checkpointing:
        model.language_model.activation_checkpointing_enable({"use_reentrant": False})
    return table

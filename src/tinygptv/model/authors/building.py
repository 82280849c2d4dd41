"""A model around tensors that exist already, and the memory of where they came from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tinygptv.model.adapters import add_lora, own_name
from tinygptv.model.authors.accounts import check
from tinygptv.model.authors.report import ImportReport
from tinygptv.model.language import architecture_of

if TYPE_CHECKING:
    import torch

    from tinygptv.config import Lora
    from tinygptv.model.configuration import TinyGPTVConfig
    from tinygptv.model.language.interface import Architecture
    from tinygptv.model.modeling import TinyGPTVForConditionalGeneration

_ORIGIN = "_authors_origin"


@dataclass(slots=True)
class Origin:
    """What a model was imported from, beyond what it holds: enough to write the files again, bit for bit."""

    report: ImportReport
    kept: dict[str, torch.Tensor] = field(default_factory=dict)
    """By file and the authors' name (``phi/…``): what the checkpoint replaced, or the model holds in another format."""


def set_origin(model: TinyGPTVForConditionalGeneration, origin: Origin) -> None:
    """Remember where a model came from; a copy of the model remembers it too."""
    model.__dict__[_ORIGIN] = origin


def get_origin(model: TinyGPTVForConditionalGeneration) -> Origin | None:
    """Where a model came from; None if it was not imported."""
    return model.__dict__.get(_ORIGIN)


def own_state(model: TinyGPTVForConditionalGeneration) -> dict[str, torch.Tensor]:
    """The model's tensors by our names, adapters apart."""
    return {own_name(name): tensor.detach() for name, tensor in model.state_dict().items()}


def lora_of(model: TinyGPTVForConditionalGeneration) -> Lora | None:
    """Settings of the adapters in place; None without any."""
    from peft.tuners.lora import LoraLayer

    from tinygptv.config import Lora

    adapted = {name: layer for name, layer in model.named_modules() if isinstance(layer, LoraLayer)}
    if not adapted:
        return None
    layer = next(iter(adapted.values()))
    inside = tuple(f".{name}" for name in architecture_of(model.config.text_config).mlp_targets)
    return Lora(
        rank=layer.r["default"],
        alpha=layer.lora_alpha["default"],
        dropout=getattr(layer.lora_dropout["default"], "p", 0.0),  # none is an identity
        mlp=any(name.endswith(inside) for name in adapted),
    )


def build(
    origin: str,
    config: TinyGPTVConfig,
    tensors: dict[str, torch.Tensor],
    lora: Lora | None,
    theirs: Callable[[str], str] = str,
) -> TinyGPTVForConditionalGeneration:
    """Lay out a model without memory and give it the tensors as they are; no weight exists twice.

    The image tower and the language model's matrices keep their format; its norms, the Q-Former, projections and
    adapters become float32, as in training (``model/assembly.py``) and in the authors' code.

    Args:
        origin: where the tensors come from, for messages.
        config: sizes.
        tensors: the whole state by our names.
        lora: adapters to put in place; None: none.
        theirs: our name of a tensor to that in its file, for messages.

    Raises:
        CheckpointError: tensors are missing, unknown or of another shape.
    """
    from accelerate import init_empty_weights

    from tinygptv.model.modeling import TinyGPTVForConditionalGeneration

    with init_empty_weights(include_buffers=False):  # the rotary frequencies are in no file: they must be real
        model = TinyGPTVForConditionalGeneration(config)
        if lora is not None:
            add_lora(model, lora)
    check(origin, tensors, own_state(model), theirs)
    state, language = {}, architecture_of(config.text_config)
    for name in model.state_dict():
        tensor = tensors[own_name(name)]
        state[name] = tensor if keeps_format(own_name(name), language) else tensor.float()
    model.load_state_dict(state, strict=True, assign=True)
    return model.eval()


def keeps_format(name: str, language: Architecture) -> bool:
    """Whether a tensor of ours stays in the number format of its file."""
    part, _, inside = name.partition(".")
    if part == "language_model":
        return not language.is_norm(inside) and ".lora_" not in name
    return name.startswith("image_encoder.vision_model.")

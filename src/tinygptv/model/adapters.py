"""What trains: LoRA on the language model, and one table of parameter groups that freezes everything else.

Source: paper, figures 4 to 6; the authors' ``base_model.py`` (init_llm). Their code trains the weights of the norms
alone, equation 1 of the paper the biases too: these are a group of their own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tinygptv.ground.errors import CheckpointError
from tinygptv.ground.runtime import quiet_libraries

if TYPE_CHECKING:
    import torch
    from torch import nn

    from tinygptv.config import Lora
    from tinygptv.model.language.interface import Architecture
    from tinygptv.model.modeling import TinyGPTVForConditionalGeneration

GROUPS = ("projection", "input_norm", "qk_norm", "rms_norm", "final_norm", "norm_biases", "lora")
"""Groups of parameters that a stage's ``trainable`` can name, in their order."""


def patterns(language: Architecture) -> dict[str, str]:
    """Group to the names of its parameters, in our own naming, in a model with this language model."""
    named = {group: rf"language_model\.{pattern}" for group, pattern in language.groups().items()}
    named["projection"] = r"projector\.linear_[12]\.(weight|bias)"
    return {group: named[group] for group in GROUPS}


def held_groups(*trained: Iterable[str]) -> tuple[str, ...]:
    """The groups in which a model can differ from its backbones: all that stages trained, and the projection.

    The backbones have no projection: one that no stage has trained is as much the model's own as one that did.
    """
    named = {"projection"}.union(*trained)
    return tuple(group for group in GROUPS if group in named)


@dataclass(frozen=True, slots=True)
class FreezeTable:
    """Counts of parameters by group; ``frozen`` is everything else."""

    trainable: dict[str, int]
    frozen: int

    @property
    def total_trainable(self) -> int:
        """All trainable parameters."""
        return sum(self.trainable.values())

    def __str__(self) -> str:
        groups = ", ".join(f"{group} {count:,}" for group, count in self.trainable.items())
        return f"trainable {self.total_trainable:,} ({groups}); frozen {self.frozen:,}"


def own_name(name: str) -> str:
    """A parameter's name without PEFT's additions: ``….base_layer.weight``, ``….lora_A.default.weight``."""
    return re.sub(r"(\.lora_[AB])\.default\.", r"\1.", name.replace(".base_layer.", "."))


def add_lora(model: TinyGPTVForConditionalGeneration, settings: Lora) -> None:
    """Put adapters on the matrices of the language model that take them: A random (Kaiming), B zero."""
    quiet_libraries()  # PEFT imports bitsandbytes
    from peft import LoraConfig, inject_adapter_in_model

    from tinygptv.model.language import architecture_of

    language = architecture_of(model.config.text_config)
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=[*language.lora_targets, *(language.mlp_targets if settings.mlp else ())],
        bias="none",
    )
    inject_adapter_in_model(config, model.language_model)


def has_lora(model: nn.Module) -> bool:
    """Whether adapters are in place."""
    return any(".lora_A." in name for name, _ in model.named_parameters())


def merge_lora(model: TinyGPTVForConditionalGeneration) -> None:
    """Add the adapters, in float32, to the weights they adapt and remove them; done before any quantization."""
    from peft.tuners.lora import LoraLayer

    for name, layer in list(model.named_modules()):
        if isinstance(layer, LoraLayer):
            base = layer.get_base_layer()
            dtype = base.weight.dtype
            base.weight.data = base.weight.data.float()  # rounded once, after the sum
            layer.merge(safe_merge=True)
            base.weight.data = base.weight.data.to(dtype)
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, base)
    assert not has_lora(model)


def freeze(model: TinyGPTVForConditionalGeneration, groups: Iterable[str]) -> FreezeTable:
    """Make the parameters of the groups trainable, in float32, and freeze every other one.

    Raises:
        CheckpointError: a group matches nothing in the model.
    """
    from tinygptv.model.language import architecture_of

    counts, named = dict.fromkeys(groups, 0), patterns(architecture_of(model.config.text_config))
    frozen = 0
    for name, parameter in model.named_parameters():
        group = next((g for g in counts if re.fullmatch(named[g], own_name(name))), None)
        parameter.requires_grad_(group is not None)
        if group is None:
            frozen += parameter.numel()
        else:
            parameter.data = parameter.data.float()
            counts[group] += parameter.numel()
    for group, count in counts.items():
        if not count:
            raise CheckpointError(f"trainable names {group}, but the model has no such parameter")
    return FreezeTable(counts, frozen)


def trainable_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Trainable parameters by our own names, in the model's order."""
    return {own_name(name): p for name, p in model.named_parameters() if p.requires_grad}


def trainable_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """Values of the trainable parameters by our own names."""
    return {name: p.detach() for name, p in trainable_parameters(model).items()}


def load_tensors(model: nn.Module, tensors: dict[str, torch.Tensor], origin: str) -> None:
    """Copy tensors into the parameters of the same (own) names.

    Raises:
        CheckpointError: a tensor has no counterpart or another shape.
    """
    import torch

    parameters = {own_name(name): p for name, p in model.named_parameters()}
    for name, tensor in tensors.items():
        if name not in parameters:
            raise CheckpointError(f"{origin}: tensor {name} has no place in this model")
        if parameters[name].shape != tensor.shape:
            expected, found = tuple(parameters[name].shape), tuple(tensor.shape)
            raise CheckpointError(f"{origin}: tensor {name} has shape {found}, the model needs {expected}")
        with torch.no_grad():
            parameters[name].copy_(tensor)

"""Bytes of weights, gradients and moments, counted on the real model laid out without memory.

They are exact: the same code that builds, adapts and freezes the model for training is asked for its tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tinygptv.ground.names import LAST_STAGE, STAGES

if TYPE_CHECKING:
    from torch import nn

    from tinygptv.config import Config, Stage
    from tinygptv.model.modeling import TinyGPTVForConditionalGeneration

FLOAT32 = 4
"""Bytes of a float32 number: trained tensors, gradients, moments, norms, and the scale of a row in LLM.int8()."""
MOMENTS = 2
"""AdamW's averages of the gradient and of its square; each tensor also has a count of steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartSize:
    """Parameters of a part of the model by the format that they take (``model/backbones.py``, ``model/int8.py``)."""

    blocks: int
    """Matrices of the language model's blocks, which ``base_8bit`` makes small."""
    rows: int
    """Rows of these."""
    layouts: int
    """How many they are: in 8 bits each has a byte that says its layout."""
    matrices: int
    """All other linear maps and embeddings, and the biases of all of them: in ``runtime.dtype``."""
    rest: int
    """In float32: norms, positions, Q-Former, projections, adapters."""
    buffers: int
    """Bytes of buffers."""

    @property
    def parameters(self) -> int:
        """All parameters."""
        return self.blocks + self.matrices + self.rest

    def size(self, dtype: str, *, base_8bit: bool) -> int:
        """Bytes in memory.

        Args:
            dtype: ``float32`` or ``bfloat16``.
            base_8bit: whether the matrices of the blocks are in 8 bits.
        """
        number = number_size(dtype)
        blocks = self.blocks + self.rows * FLOAT32 + self.layouts if base_8bit else self.blocks * number
        return blocks + self.matrices * number + self.rest * FLOAT32 + self.buffers


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedSize:
    """What a stage trains."""

    parameters: int
    tensors: int
    adapters: int
    """Parameters of LoRA in the model: trained, or left by an earlier stage."""
    held: int
    """Parameters of its checkpoint, which keeps what earlier stages trained."""

    @property
    def gradients(self) -> int:
        """Bytes of gradients."""
        return self.parameters * FLOAT32

    @property
    def optimizer(self) -> int:
        """Bytes of AdamW's state."""
        return (MOMENTS * self.parameters + self.tensors) * FLOAT32


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """The model in parts, and what each stage trains of it."""

    image_encoder: PartSize
    projections: PartSize
    language_model: PartSize
    stages: dict[str, TrainedSize]

    def weights(self, stage: Stage, name: str, dtype: str) -> int:
        """Bytes of the weights that a stage holds, the image encoder's among them where it runs in the loop."""
        adapters = self.stages[name].adapters * FLOAT32
        encoder = self.image_encoder.size(dtype, base_8bit=False) if stage.features == "in_loop" else 0
        return (
            encoder
            + self.language_model.size(dtype, base_8bit=stage.base_8bit)
            + self.projections.size(dtype, base_8bit=False)
            + adapters
        )


def number_size(dtype: str) -> int:
    """Bytes of a number in ``runtime.dtype``."""
    return {"float32": 4, "bfloat16": 2}[dtype]


def measure(config: Config, last: str = LAST_STAGE) -> Sizes:
    """Sizes of a profile's model and of its stages up to ``last``; no weight is allocated.

    Raises:
        UserError: ``runtime.dtype`` is a number format in which the language model overflows.
    """
    import torch

    from tinygptv.model import adapters
    from tinygptv.model.language import architecture_of
    from tinygptv.model.modeling import TinyGPTVForConditionalGeneration
    from tinygptv.model.profile import from_profile

    with torch.device("meta"):
        model = TinyGPTVForConditionalGeneration(from_profile(config.model, end_of_text_id=0))
    language = architecture_of(model.config.text_config)
    language.check_format(model.config.text_config, config.runtime.dtype)
    parts = [_part(model.image_encoder), _part(model.language_model, language.blocks)]
    stages = {}
    groups: tuple[str, ...] = ()
    for name in STAGES[: STAGES.index(last) + 1]:
        if "lora" in config.stage(name).trainable and not adapters.has_lora(model):
            with torch.device("meta"):
                adapters.add_lora(model, config.model.lora)
        groups = adapters.held_groups(config.stage(name).trainable, groups)
        stages[name] = _trained(model, config.stage(name), groups)
    projections = sum(p.numel() for p in model.projector.parameters())
    return Sizes(
        image_encoder=parts[0],
        projections=PartSize(blocks=0, rows=0, layouts=0, matrices=0, rest=projections, buffers=0),
        language_model=parts[1],
        stages=stages,
    )


def _trained(model: TinyGPTVForConditionalGeneration, stage: Stage, groups: Sequence[str]) -> TrainedSize:
    from tinygptv.model import adapters

    held = adapters.freeze(model, groups).total_trainable
    table = adapters.freeze(model, stage.trainable)
    return TrainedSize(
        parameters=table.total_trainable,
        tensors=len(adapters.trainable_parameters(model)),
        adapters=sum(p.numel() for name, p in model.named_parameters() if ".lora_" in name),
        held=held,
    )


def _part(module: nn.Module, blocks: str = "") -> PartSize:
    """Counts of a module; ``blocks`` is the list of the language model's blocks."""
    import torch

    from tinygptv.model.backbones import formats_of

    formats = formats_of(module, torch.bfloat16)
    counts = {"blocks": 0, "rows": 0, "layouts": 0, "matrices": 0, "rest": 0}
    for name, parameter in module.named_parameters():
        if formats[name] == torch.float32:
            counts["rest"] += parameter.numel()
        elif blocks and name.startswith(f"{blocks}.") and parameter.ndim > 1:
            counts["blocks"] += parameter.numel()
            counts["rows"] += parameter.shape[0]
            counts["layouts"] += 1
        else:
            counts["matrices"] += parameter.numel()
    return PartSize(**counts, buffers=sum(b.numel() * b.element_size() for b in module.buffers()))

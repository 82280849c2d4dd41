"""Memory of a training stage at its peak, of the steps around it, and what lies on disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tinygptv.planning.compute import patches
from tinygptv.planning.sizes import FLOAT32, Sizes, number_size

if TYPE_CHECKING:
    from tinygptv.config import Config
    from tinygptv.planning.dry_run import Device

RESERVE = 2**30
"""Bytes for the CUDA context, the workspace of cuBLAS and the gaps of the allocator; on the CPU, for Python and its
libraries. An assumption."""
CACHES = 2
"""Of keys and values: that of the questions, and a copy of it for their choices (``model/answerer.py``)."""
POINTS = 3
"""Resume points of a running stage: the two that are kept (``training/resume.py``), and the one being written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageMemory:
    """Bytes of a training stage: weights, gradients and optimizer are exact, activations are those of a dry run."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    """Kept from forward to backward pass, the batch among them."""
    passing: int
    """Beside them at the worst moment: logits with their gradients, or what a block's backward pass computes."""
    encoding: int
    """The images of a forward pass of the image encoder in the loop; never at the same time as ``activations``."""
    reserve: int

    @property
    def peak(self) -> int:
        """The most at once."""
        steady = self.weights + self.gradients + self.optimizer + self.reserve
        return steady + max(self.activations + self.passing, self.encoding)


NOTHING = StageMemory(weights=0, gradients=0, optimizer=0, activations=0, passing=0, encoding=0, reserve=0)
"""Of a stage without epochs: a file is copied."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepMemory:
    """Peak of a step that trains nothing, estimated."""

    step: str
    what: str
    peak: int
    change: str
    """The key that makes it smaller."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskUse:
    """Bytes on disk."""

    what: str
    size: int


def stage_memory(config: Config, name: str, sizes: Sizes, device: Device) -> StageMemory:
    """Memory of a stage on a device."""
    from tinygptv.planning.dry_run import activations

    stage, trained = config.stage(name), sizes.stages[name]
    found = activations(config, name, device, adapted=trained.adapters > 0)
    in_loop = stage.features == "in_loop"
    return StageMemory(
        weights=sizes.weights(stage, name, config.runtime.dtype),
        gradients=trained.gradients * (1 + (stage.micro_batches - 1).bit_length()),  # ``training/sums.py``
        optimizer=trained.optimizer,
        activations=found.kept,
        passing=found.peak - found.kept,
        encoding=config.features.batch_size * encoding(config, stage.image_size) if in_loop else 0,
        reserve=RESERVE,
    )


def other_steps(config: Config, sizes: Sizes) -> tuple[StepMemory, ...]:
    """The steps besides training that run the model on the device."""
    from tinygptv.model.language import of_profile

    number, text = number_size(config.runtime.dtype), config.model.text
    encoder = sizes.image_encoder.size(config.runtime.dtype, base_8bit=False)
    largest = max(config.image_sizes)
    steps = [
        StepMemory(
            step="features",
            what=f"{config.features.batch_size} images of {largest} px",
            peak=encoder + config.features.batch_size * encoding(config, largest) + RESERVE,
            change="features.batch_size",
        )
    ]
    last = config.stage4
    tokens = last.max_sequence_tokens + config.evaluate.max_new_tokens
    cached = text.num_hidden_layers * of_profile(text).cached(text) * number * tokens
    image = encoding(config, last.image_size)
    projections = sizes.projections.parameters * number
    full = encoder + projections + sizes.language_model.parameters * number
    small = encoder + projections + sizes.language_model.size(config.runtime.dtype, base_8bit=True)
    whole = full + sizes.stages["stage4"].adapters * FLOAT32
    for step, opened, weights, batch in (
        ("evaluate", whole, whole, config.evaluate.batch_size),
        ("quantize", whole, small, config.quantize.batch_size),  # opened, merged, and asked once more in 8 bits
    ):
        steps.append(
            StepMemory(
                step=step,
                what=f"{batch} questions of up to {tokens} tokens" + (", in 8 bits" if step == "quantize" else ""),
                peak=max(opened, weights + batch * max(CACHES * cached, image)) + RESERVE,
                change=f"{step}.batch_size",
            )
        )
    return tuple(steps)


def encoding(config: Config, image_size: int) -> int:
    """Bytes of an image on its way through a block of the tower, where the MLP is at its widest."""
    vision, number = config.model.vision, number_size(config.runtime.dtype)
    return patches(vision, image_size) * (2 * vision.intermediate_size * number + 4 * vision.hidden_size * FLOAT32)


def disk(config: Config, sizes: Sizes) -> tuple[DiskUse, ...]:
    """What the steps leave on disk, besides the data sets, their shards and features (``planning/data.py``)."""
    dtype = config.runtime.dtype
    stored = dtype if config.backbones.source == "hub" else "float32"
    frozen = (sizes.image_encoder, sizes.language_model)
    backbones = sum(part.size(stored, base_8bit=False) - part.buffers for part in frozen)
    trained = {
        name: stage.parameters * FLOAT32 * bool(config.stage(name).steps) for name, stage in sizes.stages.items()
    }
    package = (
        sizes.image_encoder.size(dtype, base_8bit=False)
        + sizes.projections.parameters * number_size(dtype)
        + sizes.language_model.size(dtype, base_8bit=True)
    )
    largest = max(trained, key=lambda name: trained[name])
    kept = 2 if config.stage(largest).validation else 1  # the weights, and those of the best look
    return (
        DiskUse(what="backbones", size=backbones),
        DiskUse(
            what="checkpoints of the four stages", size=sum(stage.held * FLOAT32 for stage in sizes.stages.values())
        ),
        DiskUse(
            what=f"resume points of {largest} while it runs",
            size=POINTS * (trained[largest] * kept + sizes.stages[largest].optimizer) if trained[largest] else 0,
        ),
        DiskUse(what="8-bit package", size=package),
    )

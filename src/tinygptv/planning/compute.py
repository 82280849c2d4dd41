"""Floating-point operations of a sample, and the hours that they would take on known devices.

A product of an (m, k) and a (k, n) matrix is 2 m k n operations; norms, softmax and activations are not counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from tinygptv.config import Config, Stage, Vision

PEAK_TFLOPS = {"RTX 3090": 71.0, "RTX 4090": 165.2, "A100": 312.0, "H100 SXM": 989.4}
"""Dense bfloat16 products with float32 accumulation, in 10^12 operations a second.

Source: NVIDIA's white papers on the architectures GA102 and Ada, and data sheets of A100 and H100; without sparsity,
with which they double.
"""
DEVICES = {
    "NVIDIA GeForce RTX 3090": "RTX 3090",
    "NVIDIA GeForce RTX 4090": "RTX 4090",
    "NVIDIA A100-PCIE-40GB": "A100",
    "NVIDIA A100-SXM4-40GB": "A100",
    "NVIDIA A100 80GB PCIe": "A100",
    "NVIDIA A100-SXM4-80GB": "A100",
    "NVIDIA H100 80GB HBM3": "H100 SXM",
    "NVIDIA H200": "H100 SXM",  # the same chip with more memory
}
"""Device, as the driver names it, to its peak; other devices have no utilisation."""
UTILISATION = 0.35
"""Share of the peak that training is assumed to reach. An assumption: nothing here was measured on these devices."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compute:
    """Operations of one sample at the longest sequence, and of the whole stage."""

    forward: float
    backward: float
    recomputed: float
    """The blocks' forward pass again, with gradient checkpointing."""
    samples: float
    """Samples of the stage; an average where a step draws one of several data sets."""
    looked_at: int
    """Held-out samples of its forward passes without training, at most."""

    @property
    def per_sample(self) -> float:
        """Operations of a sample in training."""
        return self.forward + self.backward + self.recomputed

    def hours(self, tflops: float) -> float:
        """Hours of the stage at ``UTILISATION`` of a device's peak."""
        whole = self.samples * self.per_sample + self.looked_at * self.forward
        return whole / (tflops * 1e12 * UTILISATION) / 3600


def stage_compute(config: Config, stage: Stage, *, matrices: int, lora: int) -> Compute:
    """Operations of a stage, every sequence as long as it may be.

    Args:
        config: the profile.
        stage: the stage's section.
        matrices: numbers in the matrices of the language model's blocks.
        lora: numbers in the adapters on them.
    """
    tokens = stage.max_sequence_tokens
    positions = tokens - config.model.qformer.num_query_tokens if stage.label_only_logits else tokens
    work = pass_operations(config, [tokens], positions, 1, matrices=matrices, lora=lora)
    return Compute(
        forward=work.forward,
        backward=work.backward,
        recomputed=work.blocks if stage.gradient_checkpointing else 0.0,
        samples=stage.steps * mean_batch(stage),
        looked_at=held_out_samples(stage),
    )


class Operations(NamedTuple):
    """Of a forward pass, of its backward pass, and of the blocks' part of the former."""

    forward: float
    backward: float
    blocks: float


def pass_operations(
    config: Config, lengths: Sequence[int], positions: int, images: int, *, matrices: int, lora: int
) -> Operations:
    """Operations of samples.

    Args:
        config: the profile.
        lengths: their tokens.
        positions: of all of them, where the head runs.
        images: that they have.
        matrices: numbers in the matrices of the language model's blocks.
        lora: numbers in the adapters on them.
    """
    text, model, tokens = config.model.text, config.model, sum(lengths)
    width, queries = text.hidden_size, model.qformer.num_query_tokens * images
    scores = text.num_hidden_layers * 2 * sum(length**2 for length in lengths) * width
    head = positions * width * text.vocab_size
    first = queries * model.qformer.hidden_size * model.projection_size
    second = queries * model.projection_size * width
    # The gradient of a frozen matrix's input costs as much as its forward pass, that of a trained matrix again as
    # much, and attention twice: for each of its two products two gradients, and the scores once more.
    blocks = tokens * (matrices + lora) + scores
    backward = tokens * (matrices + 2 * lora) + 2.5 * scores + head + 2 * second + first
    return Operations(2.0 * (blocks + head + first + second), 2.0 * backward, 2.0 * blocks)


def peak_of(device: str) -> float | None:
    """Operations a second that a device's maker states for dense bfloat16, where they are known here."""
    known = DEVICES.get(device)
    return PEAK_TFLOPS[known] * 1e12 if known else None


def held_out_samples(stage: Stage) -> int:
    """Samples and questions of all looks of a stage at its held-out part, at most: an answer is about as long."""
    if stage.validation is None or not stage.steps:
        return 0
    looks = 1 + -(-stage.steps // stage.validation.every)
    passed = min(stage.micro_batch_size, largest_batch(stage))
    return looks * (stage.validation.batches * passed + (stage.validation.questions or 0))


def largest_batch(stage: Stage) -> int:
    """Samples of a stage's largest step."""
    return stage.batch_size if isinstance(stage.batch_size, int) else max(stage.batch_size.values())


def mean_batch(stage: Stage) -> float:
    """Samples of a step, on average."""
    if isinstance(stage.batch_size, int):
        return float(stage.batch_size)
    weights = {str(name): weight for name, weight in stage.mixture.items()}
    return sum(weights[name] * size for name, size in stage.batch_size.items()) / sum(weights.values())


def patches(vision: Vision, image_size: int) -> int:
    """Vectors of an image in the tower: its patches and the class token."""
    return (image_size // vision.patch_size) ** 2 + 1


def encoder_forward(config: Config, image_size: int) -> float:
    """Operations of tower and Q-Former for one image."""
    vision, qformer = config.model.vision, config.model.qformer
    seen, asked = patches(vision, image_size), qformer.num_query_tokens
    width, narrow = vision.hidden_size, qformer.hidden_size
    block = seen * (4 * width**2 + 2 * width * vision.intermediate_size) + 2 * seen**2 * width
    embedding = (seen - 1) * 3 * vision.patch_size**2 * width
    layer = asked * (4 * narrow**2 + 2 * narrow * qformer.intermediate_size) + 2 * asked**2 * narrow
    # Queries and output are the Q-Former's wide, keys and values are made of every patch.
    look = asked * 2 * narrow**2 + seen * 2 * width * narrow + 2 * asked * seen * narrow
    looks = -(-qformer.num_hidden_layers // qformer.cross_attention_frequency)
    tower = vision.num_hidden_layers * block + embedding
    return 2.0 * (tower + qformer.num_hidden_layers * layer + looks * look)

"""The variants of gpu_memory.py and gpu_step.py: in what each differs from a stage as its profile has it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way to train a stage."""

    what: str
    tower: bool = False
    row: int | None = None
    """Tokens of its one micro-batch, whose samples have the lengths of real ones; None: all are as long as may be."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Other values of the profile; ``stage.`` stands for the stage at hand."""
    gpu: float | None = None
    """Its own limit in GB."""
    package: str | None = None
    """What it needs besides torch, transformers and peft."""


SHORT = {"stage4.max_sequence_tokens": 320, "stage4.gradient_checkpointing": False}
"""Stage 4 as the authors' step was measured: three sequences of 320 tokens, nothing computed again."""
VARIANTS = {
    "cached": Variant(what="as the pipeline trains: cached features, deterministic kernels"),
    "again": Variant(what="the same in a second process, which finds what the first one compiled"),
    "plain": Variant(
        what="nothing compiled, at most 16 samples a forward pass",
        settings={"stage.compile": False, "stage1.micro_batch_size": 16, "stage2.micro_batch_size": 16},
    ),
    "short": Variant(what="320 tokens a sequence, no checkpointing", settings=SHORT),
    "short_plain": Variant(what="the same, nothing compiled", settings=SHORT | {"stage.compile": False}),
    "packed": Variant(
        what="one row of 4,096 tokens, samples of real lengths, no checkpointing",
        row=4096,
        settings={  # as long a pass, for what is compiled and planned before it
            "stage4.max_sequence_tokens": 128,
            "stage4.batch_size": 32,
            "stage4.micro_batch_size": 32,
            "stage4.gradient_checkpointing": False,
            "stage4.packing": True,
        },
    ),
    "tower": Variant(what="the image encoder runs in every step", tower=True),
    "free": Variant(what="any kernels", settings={"runtime.deterministic": False}),
    "8gb": Variant(
        what="blocks in 8 bits and computed again, stage 4 one sequence at a time, in 8 GB",
        settings={"stage.base_8bit": True, "stage.gradient_checkpointing": True, "stage4.micro_batch_size": 1},
        gpu=8.0,
        package="bitsandbytes",
    ),
}

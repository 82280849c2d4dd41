"""How long a stage trains on so many records, and how much at once: pure functions by which ``new`` decides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

SMALLEST_BATCH = 8
PASSES = (3.0, 40.0)
"""Fewest and most times that a record is met: few records are met often, many seldom."""
PASSES_OF_1000 = 12.0
FEWEST_STEPS, MOST_STEPS = 60, 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Amounts:
    """Settings of a stage that depend on the number of its records and on the device."""

    steps: int
    batch_size: int
    micro_batch_size: int
    gradient_checkpointing: bool
    warmup_steps: int
    checkpoint_every: int
    log_every: int
    passes: float
    """How often a record is met, on average."""
    fits: bool
    """Whether the device holds it."""


def amounts(
    records: int, *, batch: int, micro: int, warmup: int, checkpointing: bool, fits: Callable[[int, bool], bool]
) -> Amounts:
    """Steps and batch sizes of a stage.

    Args:
        records: that train.
        batch: the batch size of the profile that is begun with: the most.
        micro: its micro-batch size.
        warmup: its steps of warm-up: the most.
        checkpointing: whether it computes blocks again.
        fits: whether the device holds a micro-batch of that size, with or without computing blocks again.
    """
    chosen = _batch_size(records, batch)
    low, high = PASSES
    passes = min(high, max(low, PASSES_OF_1000 * (1000 / max(records, 1)) ** 0.5))
    steps = min(MOST_STEPS, max(FEWEST_STEPS, -(-round(passes * records) // chosen)))
    sizes = [size for size in range(min(micro, chosen), 0, -1) if chosen % size == 0]
    tried = [(size, again) for again in dict.fromkeys((checkpointing, True)) for size in sizes]
    found = next((pair for pair in tried if fits(*pair)), None)
    size, again = found or tried[-1]
    return Amounts(
        steps=steps,
        batch_size=chosen,
        micro_batch_size=size,
        gradient_checkpointing=again,
        warmup_steps=min(warmup, max(1, steps // 10)),
        checkpoint_every=max(10, steps // 10),
        log_every=max(1, steps // 50),
        passes=steps * chosen / max(records, 1),
        fits=found is not None,
    )


def held_out(images: int) -> dict[str, float]:
    """Shares of the images that are held out: to watch the training, and to be asked at the end.

    Few images give a fifth, so that enough is asked to tell a model from a guess; of many, 2,000 are enough.
    """
    test = min(0.2, 2000 / max(images, 1))
    return {"val": float(f"{test / 2:.2g}"), "test": float(f"{test:.2g}")}


def rounded_up(count: float, step: int = 8) -> int:
    """The next multiple."""
    return -(-int(-(-count // 1)) // step) * step


def _batch_size(records: int, most: int) -> int:
    """At most an eighth of the records, halved from that of the profile."""
    size = most
    while size % 2 == 0 and size > max(SMALLEST_BATCH, records // 8):
        size //= 2
    return size

"""AdamW and the learning rate.

Source: the authors' ``common/optims.py`` (LinearWarmupCosineLRScheduler) and ``runners/runner_base.py`` (optimizer).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import nn

    from tinygptv.config import Schedule


def learning_rate(schedule: Schedule, step: int, *, steps_per_epoch: int, epochs: int) -> float:
    """The rate of a step, counted from 0.

    Warm-up is linear from ``warmup`` to ``init`` and counts steps inside the epoch; the cosine runs from ``init`` to
    ``min`` over the whole training and does not start again after the warm-up, so that the rate drops a little at its
    end, as in the authors' code. With ``init`` below ``min`` it rises (stage 4 of the paper).
    """
    if step < schedule.warmup_steps:
        within_epoch = step % steps_per_epoch
        rate = schedule.warmup + (schedule.init - schedule.warmup) * within_epoch / schedule.warmup_steps
        return min(schedule.init, rate)
    share = step / (steps_per_epoch * epochs)
    return (schedule.init - schedule.min) * 0.5 * (1.0 + math.cos(math.pi * share)) + schedule.min


def adamw(
    parameters: Mapping[str, nn.Parameter], *, weight_decay: float, betas: tuple[float, float]
) -> torch.optim.AdamW:
    """AdamW that decays matrices and spares biases and norms.

    The learning rate is set before every step by ``set_learning_rate``.
    """
    import torch

    decayed = [p for p in parameters.values() if p.ndim >= 2]
    spared = [p for p in parameters.values() if p.ndim < 2]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": spared, "weight_decay": 0.0}]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=0.0, betas=betas, fused=True)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give all parameter groups this rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def step_if(optimizer: torch.optim.Optimizer, finite: torch.Tensor) -> None:
    """A step of ``adamw`` that changes neither parameters nor moments where a flag on their device says so.

    It is the way in which torch's own ``GradScaler`` keeps a fused optimizer from a step, without asking the device.

    Args:
        optimizer: a fused one.
        finite: whether gradients and loss are numbers, a scalar.
    """
    optimizer.found_inf = (~finite).float()  # type: ignore[attr-defined]
    optimizer.step()

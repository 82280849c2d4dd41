"""Muon for matrices, AdamW for the rest: half the steps of AdamW alone on the stand-ins (docs/recipe.md)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from tinygptv.training.optimizer import learning_rate, set_learning_rate

if TYPE_CHECKING:
    import torch
    from torch import nn

    from tinygptv.config import Pretraining

ADAMW_BETAS = (0.9, 0.98)
MAX_GRAD_NORM = 1.0


class MuonAdamW:
    """Two optimizers that share one schedule."""

    def __init__(
        self, parameters: Iterable[tuple[str, nn.Parameter]], settings: Pretraining, *, ends: tuple[str, ...]
    ) -> None:
        """Give hidden matrices to Muon; embeddings, head, norms, biases and convolutions to AdamW.

        The weights of norms move faster and do not decay: QK-Norm bounds how sharply attention can look, and its
        weights have to grow.

        Args:
            parameters: with their names.
            settings: the schedule.
            ends: modules that are no hidden matrices, such as a head, beside all with ``embed`` in their names.
        """
        import torch

        named = list(parameters)
        self._settings = settings
        self._all = [p for _, p in named]
        groups: dict[str, list[nn.Parameter]] = {"muon": [], "norms": [], "others": []}
        for name, parameter in named:
            groups[group_of(name, parameter, ends)].append(parameter)
        decay = settings.weight_decay
        self._muon = torch.optim.Muon(groups["muon"], weight_decay=decay)
        self._others = torch.optim.AdamW(groups["others"], betas=ADAMW_BETAS, weight_decay=decay, fused=True)
        self._norms = torch.optim.AdamW(groups["norms"], betas=ADAMW_BETAS, weight_decay=0.0, fused=True)

    def step(self, step: int, loss: torch.Tensor) -> None:
        """Differentiate, clip, and update at the rate of this step, counted from 0."""
        import torch

        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._all, MAX_GRAD_NORM, error_if_nonfinite=True)
        settings = self._settings
        rate = held_rate(settings, step)
        set_learning_rate(self._others, rate)
        set_learning_rate(self._norms, rate * settings.norm_rate_factor)
        set_learning_rate(self._muon, rate / settings.learning_rate.init * settings.muon_learning_rate)
        for optimizer in (self._others, self._norms, self._muon):
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)


def held_rate(settings: Pretraining, step: int) -> float:
    """The rate of a step: the schedule, stretched at the end of its warm-up by ``hold_steps`` at full rate."""
    schedule, hold = settings.learning_rate, settings.hold_steps
    if step >= schedule.warmup_steps:
        if step < schedule.warmup_steps + hold:
            return schedule.init
        step -= hold
    return learning_rate(schedule, step, steps_per_epoch=settings.steps - hold, epochs=1)


def group_of(name: str, parameter: nn.Parameter, ends: tuple[str, ...]) -> str:
    """Which optimizer a parameter belongs to."""
    if "norm" in name and name.endswith(".weight"):
        return "norms"
    hidden = "embed" not in name and not name.startswith(tuple(f"{end}." for end in ends))
    return "muon" if parameter.ndim == 2 and hidden else "others"

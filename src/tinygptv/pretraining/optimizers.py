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

    def __init__(self, parameters: Iterable[tuple[str, nn.Parameter]], settings: Pretraining) -> None:
        """Give hidden matrices to Muon; embeddings, head, norms, biases and convolutions to AdamW."""
        import torch

        named = list(parameters)
        self._all = [p for _, p in named]
        matrices = [p for name, p in named if p.ndim == 2 and not any(part in name for part in ("embed", "lm_head"))]
        chosen = {id(p) for p in matrices}
        others = [p for p in self._all if id(p) not in chosen]
        decay = settings.weight_decay
        self._settings = settings
        self._muon = torch.optim.Muon(matrices, weight_decay=decay)
        self._adamw = torch.optim.AdamW(others, betas=ADAMW_BETAS, weight_decay=decay, fused=True)

    def step(self, step: int, loss: torch.Tensor) -> None:
        """Differentiate, clip, and update at the rate of this step, counted from 0."""
        import torch

        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._all, MAX_GRAD_NORM, error_if_nonfinite=True)
        schedule = self._settings.learning_rate
        rate = learning_rate(schedule, step, steps_per_epoch=self._settings.steps, epochs=1)
        set_learning_rate(self._adamw, rate)
        set_learning_rate(self._muon, self._settings.muon_learning_rate * rate / schedule.init)
        for optimizer in (self._adamw, self._muon):
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

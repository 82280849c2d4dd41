"""The loss curve of a stage, from the trace of its steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tinygptv.training.loop import BEGUN, LOOKS, best_look, is_look

if TYPE_CHECKING:
    from tinygptv.config import Stage
    from tinygptv.training.loop import Point


def is_curve_point(step: int, stage: Stage) -> bool:
    """Whether the loss curve has a point after this step, counted from 1."""
    return step % stage.log_every == 0 or step == stage.steps or is_look(step, stage)


def curve_point(trace: Sequence[Point], end: int, stage: Stage) -> dict[str, float]:
    """The loss curve's point after step ``end``: the mean loss since the point before, and this step's other values."""
    every = (stage.log_every, *((stage.validation.every,) if stage.validation else ()))
    start = max((end - 1) // steps * steps for steps in every)
    losses = [point["loss"] for point in trace[start:end]]
    last = trace[end - 1]
    point = {"step": end, "loss": sum(losses) / len(losses), "lr": last["lr"], "grad_norm": last["grad_norm"]}
    return point | {look: last[look] for look in LOOKS if look in last}


def loss_curve(trace: Sequence[Point], stage: Stage) -> list[dict[str, float]]:
    """A point for every ``log_every``-th step, every look and the last step.

    ``best`` marks the look that is kept, if it is not the one before the first step, whose values the first point has.
    """
    points = [curve_point(trace, end, stage) for end in range(1, len(trace) + 1) if is_curve_point(end, stage)]
    best = best_look(trace, stage)
    for point in points:
        point |= {"best": True} if best and point["step"] == best["step"] else {}
    points[0] |= {key: trace[0][key] for key in BEGUN.values() if key in trace[0]}
    return points

"""The training loop of all four stages.

Several processes may share a stage: each computes some of the micro-batches of a step (``step.py``) and some of those
that are held out, and all of them have the same weights, optimizer and trace.

A stage may look at held-out records every so many steps: at their loss, and at what its answers to them count. Nothing
is drawn for that, no gradient is taken and dropout is off, so that it trains bit for bit as it would without looking;
the weights of the best look are kept beside. The first look is before the first step: what was better before stays.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NotRequired, TypedDict

from tinygptv.ground.runtime import autocast
from tinygptv.ground.workers import ALONE, Workers
from tinygptv.training.loss import batch_loss
from tinygptv.training.optimizer import adamw, learning_rate, set_learning_rate
from tinygptv.training.step import DivergedError, optimizer_step

if TYPE_CHECKING:
    import torch
    from torch import nn

    from tinygptv.config import Stage
    from tinygptv.data.batches import Batch
    from tinygptv.model.modeling import TinyGPTVForConditionalGeneration

    Score = Callable[[TinyGPTVForConditionalGeneration], float]

LookValue = Literal["validation_loss", "validation_score"]
LOOKS: tuple[LookValue, ...] = ("validation_loss", "validation_score")
"""What a point has of a look, where there was one."""
BEGUN: dict[LookValue, Literal["start_loss", "start_score"]] = {
    "validation_loss": "start_loss",
    "validation_score": "start_score",
}
"""What the first point has of the look before the first step."""


class Point(TypedDict):
    """A step of the trace, or a point of the loss curve."""

    step: int
    """Counted from 1."""
    loss: float
    """Mean per target token."""
    lr: float
    grad_norm: float
    """Before clipping."""
    batch: str
    """Digest of the batch's record ids (``data/batches.py``)."""
    validation_loss: NotRequired[float]
    """Mean per target token of the held-out micro-batches, where they were looked at after this step."""
    validation_score: NotRequired[float]
    """What the answers to held-out questions count, where a look asks any."""
    start_loss: NotRequired[float]
    """``validation_loss`` of the weights with which the stage begins; at its first step."""
    start_score: NotRequired[float]


@dataclass(slots=True)
class TrainingState:
    """Everything that changes from step to step, and what is drawn from."""

    model: TinyGPTVForConditionalGeneration
    parameters: Mapping[str, nn.Parameter]
    """Trainable parameters by our own names."""
    optimizer: torch.optim.Optimizer
    drawn_from: tuple[int, str]
    """The pipeline's seed and the stage: with step and micro-batch they seed what the model draws."""
    workers: Workers = ALONE
    """The processes that share the stage; all of them have the same state."""
    trace: list[Point] = field(default_factory=list)
    """Every step so far."""
    best: dict[str, torch.Tensor] = field(default_factory=dict)
    """The parameters after the best look, on the CPU; empty before the first look."""

    @property
    def step(self) -> int:
        """Steps done."""
        return len(self.trace)


def new_state(
    model: TinyGPTVForConditionalGeneration,
    parameters: Mapping[str, nn.Parameter],
    stage: Stage,
    drawn_from: tuple[int, str],
    workers: Workers = ALONE,
) -> TrainingState:
    """The state before the first step; arguments as the fields of ``TrainingState``."""
    optimizer = adamw(parameters, weight_decay=stage.weight_decay, betas=stage.betas)
    return TrainingState(model, parameters, optimizer, drawn_from, workers)


def train(
    state: TrainingState,
    batches: Iterable[Sequence[Batch]],
    stage: Stage,
    *,
    on_step: Callable[[TrainingState], None],
    held_out: Sequence[Batch] = (),
    score: Score | None = None,
) -> None:
    """Train from ``state.step`` to the end of the stage, or until its patience is.

    Args:
        state: changed in place.
        batches: this process's micro-batches of each step, from step ``state.step`` to the last one.
        stage: the stage's section of the configuration.
        on_step: called after every step; it logs, saves, and may raise to stop.
        held_out: what a stage with ``validation`` looks at.
        score: what the model's answers to held-out questions count, where a look asks any.

    Raises:
        DivergedError: names the step, the records of its batch and the tensor.
    """
    state.model.train()
    begun: dict[LookValue, float] = {}
    if stage.validation is not None and not state.trace:
        begun = held_out_values(state, held_out, stage, score)
        state.best = copied(state)
    for micro_batches in batches:
        if is_out_of_patience(state.trace, stage):
            break
        place = state.step % stage.steps_per_repeat
        if place == 0:
            state.optimizer.state.clear()  # a repeat begins as the first did, with no moments
        rate = learning_rate(stage.learning_rate, place, steps_per_epoch=stage.steps_per_epoch, epochs=stage.epochs)
        set_learning_rate(state.optimizer, rate)
        loss, norm, digest = optimizer_step(state, micro_batches, stage)
        state.trace.append({"step": state.step + 1, "loss": loss, "lr": rate, "grad_norm": norm, "batch": digest})
        if state.step == 1:
            state.trace[0].update({BEGUN[key]: value for key, value in begun.items()})  # type: ignore[typeddict-item]
        if is_look(state.step, stage):
            look(state, held_out, stage, score)
        on_step(state)
    whole = state.step == stage.steps or is_out_of_patience(state.trace, stage)
    assert whole, f"{state.step} of {stage.steps} steps were made"


def is_look(step: int, stage: Stage) -> bool:
    """Whether the held-out part is looked at after this step, counted from 1."""
    return stage.validation is not None and (step % stage.validation.every == 0 or step == stage.steps)


def look(state: TrainingState, held_out: Sequence[Batch], stage: Stage, score: Score | None) -> None:
    """Put the loss on held-out micro-batches, and the score, beside the last step; keep the weights if none are better.

    Raises:
        DivergedError: the loss is not finite.
    """
    here = state.trace[-1]
    for key, value in held_out_values(state, held_out, stage, score).items():
        here[key] = value
    if best_look(state.trace, stage) is here:
        state.best = copied(state)


def held_out_values(
    state: TrainingState, held_out: Sequence[Batch], stage: Stage, score: Score | None
) -> dict[LookValue, float]:
    """The loss on held-out micro-batches, and the score, of the weights as they are.

    Raises:
        DivergedError: the loss is not finite.
    """
    import torch

    device = next(iter(state.parameters.values())).device
    state.model.eval()
    with torch.no_grad():
        mine = [
            batch_loss(
                state.model, held_out[number], device, label_only=stage.label_only_logits, packing=stage.packing
            ).item()
            for number in state.workers.share(len(held_out))
        ]
        total = sum(loss for losses in state.workers.tell(json.dumps(mine)) for loss in json.loads(losses))
        values: dict[LookValue, float] = {"validation_loss": total / sum(batch.target_tokens for batch in held_out)}
        if not math.isfinite(values["validation_loss"]):
            raise DivergedError(f"step {state.step}: the loss on the held-out part is not finite ({total})")
        if score is not None:
            # Answers look back at a cache of keys and values, which compiled blocks do not know.
            with autocast(state.model.language_model), torch.compiler.set_stance("force_eager"):
                found = score(state.model) if state.workers.is_main else 0.0
            values["validation_score"] = float(json.loads(state.workers.tell(json.dumps(found))[0]))
    state.model.train()
    return values


def copied(state: TrainingState) -> dict[str, torch.Tensor]:
    """The parameters as they are, on the CPU."""
    return {name: parameter.detach().to("cpu", copy=True) for name, parameter in state.parameters.items()}


def best_look(trace: Sequence[Point], stage: Stage) -> Point | None:
    """The step with the best look (``validation.keep``), the first of equals; None before the first look.

    Where nothing was better than the weights with which the stage begins, it is a step 0 with the values of these.
    """
    by_score = stage.validation is not None and stage.validation.keep == "score"

    def worse(point: Point) -> tuple[float, float]:
        return -point["validation_score"] if by_score else 0.0, point["validation_loss"]

    looks = [point for point in trace if "validation_loss" in point]
    if trace and "start_loss" in trace[0]:
        start: Point = {**trace[0], "step": 0, "validation_loss": trace[0]["start_loss"]}
        if "start_score" in trace[0]:
            start["validation_score"] = trace[0]["start_score"]
        looks = [start, *looks]
    return min(looks, key=worse, default=None)


def is_out_of_patience(trace: Sequence[Point], stage: Stage) -> bool:
    """Whether a stage ends, because none of its last ``validation.patience`` looks was better than one before."""
    if stage.validation is None or stage.validation.patience is None or not is_look(len(trace), stage):
        return False
    best = best_look(trace, stage)
    looks = sum("validation_loss" in point for point in trace[best["step"] :]) if best else 0
    return looks >= stage.validation.patience


def leave_best(state: TrainingState) -> None:
    """Put the weights of the best look into the model; without looks those of the last step stay."""
    import torch

    with torch.no_grad():
        for name, tensor in state.best.items():
            state.parameters[name].copy_(tensor)

"""Looks at held-out records: training does not notice them, the best weights stay, and patience ends."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from tinygptv.config import Config, Stage, Validation
from tinygptv.data.batches import Batch
from tinygptv.training import loop
from tinygptv.training.batches import validating
from tinygptv.training.curve import loss_curve as curve_of
from tinygptv.training.loop import DivergedError, Point, TrainingState
from tinygptv.training.resume import ResumePoints

NewTraining = Callable[..., TrainingState]
MakeBatch = Callable[..., Batch]
Weights = dict[str, torch.Tensor]


class KilledError(Exception):
    """The process ends here."""


def looking(
    stage: Stage,
    every: int = 2,
    patience: int | None = None,
    keep: Literal["loss", "score"] = "loss",
    **changes: object,
) -> Stage:
    questions = 4 if keep == "score" else None
    validation = Validation(every=every, batches=2, questions=questions, keep=keep, patience=patience)
    return stage.model_copy(update={"validation": validation, **changes})


def weights(state: TrainingState) -> Weights:
    return {name: p.detach().clone() for name, p in state.parameters.items()}


def without_looks(trace: list[Point]) -> list[dict[str, Any]]:
    """A trace without what looks put there."""
    return [{k: v for k, v in point.items() if k not in (*loop.LOOKS, *loop.BEGUN.values())} for point in trace]


def run(
    state: TrainingState,
    make_batch: MakeBatch,
    stage: Stage,
    on_step: Callable[[TrainingState], None] = lambda _: None,
    score: Callable[..., float] | None = None,
) -> dict[int, Weights]:
    """Train to the end; the weights after each step."""
    after: dict[int, Weights] = {}

    def each(state: TrainingState) -> None:
        after[state.step] = weights(state)
        on_step(state)

    batches = ([make_batch(step, slice(4)), make_batch(step, slice(4, 8))] for step in range(state.step, stage.steps))
    held_out = [make_batch(100), make_batch(101, slice(3))] if stage.validation else []
    loop.train(state, batches, stage, on_step=each, held_out=held_out, score=score)
    return after


def losses(monkeypatch: pytest.MonkeyPatch, *found: float, start: float = 9.0) -> None:
    """What the looks find, one after the other, after the one before the first step."""
    left = iter((start, *found))
    values = loop.held_out_values

    def told(state: TrainingState, held_out: list[Batch], stage: Stage, score: Any) -> dict[loop.LookValue, float]:
        value = torch.tensor(next(left) * sum(batch.target_tokens for batch in held_out) / len(held_out))
        with monkeypatch.context() as patch:
            patch.setattr(loop, "batch_loss", lambda *_, **__: value)
            return values(state, held_out, stage, score)

    monkeypatch.setattr(loop, "held_out_values", told)


def test_training_is_the_same_bit_for_bit_whether_held_out_records_are_looked_at(
    new_training: NewTraining, make_batch: MakeBatch, stage: Stage
) -> None:
    """The stage has dropout: a number drawn, or a mode that stayed, would show."""
    without = new_training()
    plain = run(without, make_batch, stage)
    beside = new_training()
    assert run(beside, make_batch, looking(stage, every=1))
    assert without_looks(beside.trace) == without.trace
    for name, parameter in beside.parameters.items():
        assert torch.equal(parameter, plain[10][name]), name
        assert torch.equal(parameter, without.parameters[name]), name
    looks = [point["validation_loss"] for point in beside.trace]
    assert len(set(looks)) == 10


def test_a_look_is_the_mean_over_target_tokens_without_dropout(
    new_training: NewTraining, make_batch: MakeBatch, stage: Stage
) -> None:
    state, held_out = new_training(), [make_batch(100), make_batch(101, slice(3))]
    state.trace = [{"step": 1, "loss": 1.0, "lr": 0.1, "grad_norm": 1.0, "batch": "0" * 16}]
    loop.look(state, held_out, looking(stage), None)
    assert state.model.training
    state.model.eval()
    total = sum(loop.batch_loss(state.model, batch, torch.device("cpu"), label_only=False).item() for batch in held_out)
    expected = total / sum(batch.target_tokens for batch in held_out)
    assert state.trace[0]["validation_loss"] == pytest.approx(expected, rel=1e-6)
    assert all(p.grad is None for p in state.parameters.values())


def test_the_weights_of_the_best_look_are_left(
    new_training: NewTraining, make_batch: MakeBatch, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses(monkeypatch, 3.0, 1.0, 2.0, 1.0, 4.0)
    state = new_training()
    after = run(state, make_batch, looking(stage))
    best = loop.best_look(state.trace, looking(stage))
    assert best is not None and best["step"] == 4  # the first of equals
    loop.leave_best(state)
    for name, parameter in state.parameters.items():
        assert torch.equal(parameter, after[4][name]), name
    assert any(not torch.equal(after[4][name], after[10][name]) for name in state.parameters)


def test_what_was_better_before_training_stays(
    new_training: NewTraining, make_batch: MakeBatch, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses(monkeypatch, 3.0, 2.0, 2.0, 1.5, 1.5, start=1.5)
    state = new_training()
    before = weights(state)
    run(state, make_batch, looking(stage))
    best = loop.best_look(state.trace, looking(stage))
    assert best is not None and (best["step"], best["validation_loss"]) == (0, 1.5)
    loop.leave_best(state)
    for name, parameter in state.parameters.items():
        assert torch.equal(parameter, before[name]), name
    curve = curve_of(state.trace, looking(stage))
    assert curve[0]["start_loss"] == 1.5 and not [point for point in curve if "best" in point]


def test_without_looks_the_weights_of_the_last_step_stay(
    new_training: NewTraining, make_batch: MakeBatch, stage: Stage
) -> None:
    state = new_training()
    after = run(state, make_batch, stage)
    loop.leave_best(state)
    assert all(torch.equal(parameter, after[10][name]) for name, parameter in state.parameters.items())


@pytest.mark.parametrize(
    ("patience", "found", "steps"),
    [
        (1, (2.0, 3.0), 4),
        (2, (2.0, 3.0, 2.0), 6),
        (2, (3.0, 3.5, 2.0, 2.5, 2.6), 10),
        (2, (5.0, 4.0, 3.0, 2.0, 1.0), 10),
        (None, (1.0, 2.0, 3.0, 4.0, 5.0), 10),
    ],
)
def test_a_stage_ends_after_so_many_looks_without_a_lower_loss(
    new_training: NewTraining,
    make_batch: MakeBatch,
    stage: Stage,
    monkeypatch: pytest.MonkeyPatch,
    patience: int | None,
    found: tuple[float, ...],
    steps: int,
) -> None:
    losses(monkeypatch, *found)
    state = new_training()
    run(state, make_batch, looking(stage, patience=patience))
    assert state.step == steps


def test_a_stage_that_was_killed_when_its_patience_ended_makes_no_more_steps(
    new_training: NewTraining, make_batch: MakeBatch, stage: Stage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    losses(monkeypatch, 2.0, 3.0)
    impatient, points = looking(stage, patience=1), ResumePoints(tmp_path, {"stage": "stage4"})

    def killed(state: TrainingState) -> None:
        points.save(state)
        if state.step == 4:
            raise KilledError

    with pytest.raises(KilledError):
        run(new_training(), make_batch, impatient, killed)
    again = new_training()
    points.restore(again)
    assert run(again, make_batch, impatient) == {}
    assert again.step == 4


@pytest.mark.parametrize("until", [1, 4, 5, 9])
def test_a_killed_stage_leaves_the_same_weights_and_trace(
    new_training: NewTraining, make_batch: MakeBatch, stage: Stage, tmp_path: Path, until: int
) -> None:
    """Of the looks before the kill one is the best: its weights lie in the resume point."""
    rates = stage.learning_rate.model_copy(update={"init": 0.5, "warmup": 0.1, "min": 0.4})
    eager = looking(stage, learning_rate=rates)
    straight = new_training()
    run(straight, make_batch, eager)
    best = loop.best_look(straight.trace, eager)
    assert best is not None and best["step"] < 9
    points = ResumePoints(tmp_path, {"stage": "stage4"})

    def killed(state: TrainingState) -> None:
        points.save(state)
        if state.step == until:
            raise KilledError

    with pytest.raises(KilledError):
        run(new_training(), make_batch, eager, killed)
    again = new_training()
    for parameter in again.parameters.values():
        parameter.data.fill_(0.5)
    points.restore(again)
    run(again, make_batch, eager)
    assert again.trace == straight.trace
    loop.leave_best(straight)
    loop.leave_best(again)
    for name, parameter in straight.parameters.items():
        assert torch.equal(parameter, again.parameters[name]), name


def test_a_resume_point_without_looks_holds_nothing_of_them(
    new_training: NewTraining, make_batch: MakeBatch, stage: Stage, tmp_path: Path
) -> None:
    from safetensors.torch import load_file

    points = ResumePoints(tmp_path, {"stage": "stage4"})
    run(new_training(), make_batch, stage, lambda state: None if state.step < 10 else points.save(state) and None)
    tensors = load_file(next(tmp_path.glob("*/*/tensors.safetensors")))
    assert not [name for name in tensors if name.startswith("best/") or "validation" in name]


def test_a_held_out_loss_that_is_not_finite_stops_the_stage(
    new_training: NewTraining, make_batch: MakeBatch, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses(monkeypatch, float("nan"))
    with pytest.raises(DivergedError, match="step 2: the loss on the held-out part"):
        run(new_training(), make_batch, looking(stage))


def test_the_curve_has_a_point_for_every_look(stage: Stage) -> None:
    trace: list[Point] = [
        {"step": step, "loss": float(step), "lr": 0.1, "grad_norm": 1.0, "batch": "0" * 16} for step in range(1, 11)
    ]
    for step in (4, 8, 10):
        trace[step - 1]["validation_loss"] = step / 10
    curve = curve_of(trace, looking(stage, every=4))  # a point of its own every 3 steps
    assert [point["step"] for point in curve] == [3, 4, 6, 8, 9, 10]
    assert [point["loss"] for point in curve] == [2.0, 4.0, 5.5, 7.5, 9.0, 10.0]
    assert [point.get("validation_loss") for point in curve] == [None, 0.4, None, 0.8, None, 1.0]
    assert [point["step"] for point in curve if "best" in point] == [4]


def shares(stage: Stage) -> dict[str, float]:
    assert isinstance(stage.batch_size, int) and stage.micro_batch_size == stage.batch_size
    assert sum(stage.mixture.values()) == stage.steps * stage.batch_size
    return dict(stage.mixture)


def test_a_look_has_the_shares_of_the_mixture_and_at_most_so_many_micro_batches(smoke: Config) -> None:
    stage = looking(smoke.stage4, mixture={"a": 3.0, "b": 1.0}, batch_size=16, micro_batch_size=8)
    assert shares(validating(stage, {"a": 1000, "b": 1000})) == {"a": 12, "b": 4}


def test_few_held_out_records_come_once_each(smoke: Config) -> None:
    stage = looking(smoke.stage4, mixture={"a": 1.0}, batch_size=16, micro_batch_size=8)
    for records in range(1, 16):
        made = validating(stage, {"a": records})
        assert records <= made.mixture["a"] < records + made.steps  # as few as micro-batches of one size allow
        assert isinstance(made.batch_size, int) and made.batch_size <= 8


def test_an_entry_without_held_out_records_or_a_place_is_left_out(smoke: Config) -> None:
    stage = looking(smoke.stage4, mixture={"a": 99.0, "b": 0.01, "c": 50.0}, batch_size=16, micro_batch_size=8)
    assert shares(validating(stage, {"a": 500, "b": 500})) == {"a": 16}


def test_a_table_of_batch_sizes_counts_by_its_samples(smoke: Config) -> None:
    sizes = {"a": 6, "b": 2}
    stage = looking(smoke.stage4, mixture={"a": 1.0, "b": 1.0}, batch_size=sizes, micro_batch_size=8)
    made = validating(stage, {"a": 500, "b": 500})
    assert (made.batch_size, shares(made)) == (6, {"a": 9, "b": 3})

"""Looks that ask questions: the best score is kept, of equals the lowest loss; a killed stage has the same looks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.training.test_validation import KilledError, MakeBatch, NewTraining, looking, losses, run, without_looks
from tinygptv.config import Stage
from tinygptv.model.modeling import TinyGPTVForConditionalGeneration
from tinygptv.training import loop
from tinygptv.training.curve import loss_curve as curve_of
from tinygptv.training.resume import ResumePoints


def counted(*found: float) -> Callable[..., float]:
    """What the looks score, one after the other, and before the first step nothing."""
    left = iter((0.0, *found))
    return lambda _: next(left)


def of_weights(model: TinyGPTVForConditionalGeneration) -> float:
    """A score that every step changes, from a model that is asked: no dropout, no gradient."""
    assert not model.training and not torch.is_grad_enabled()
    return float(sum(p.detach().abs().sum() for p in model.projector.parameters()))


def test_the_weights_of_the_highest_score_are_left_and_of_equals_those_of_the_lowest_loss(
    new_training: NewTraining, make_batch: MakeBatch, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses(monkeypatch, 1.0, 3.0, 2.0, 4.0, 0.5)
    state, scored = new_training(), looking(stage, keep="score")
    after = run(state, make_batch, scored, score=counted(0.2, 0.7, 0.7, 0.7, 0.6))
    best = loop.best_look(state.trace, scored)
    assert best is not None and best["step"] == 6
    loop.leave_best(state)
    for name, parameter in state.parameters.items():
        assert torch.equal(parameter, after[6][name]), name
    curve = curve_of(state.trace, scored)
    assert [point["validation_score"] for point in curve if "validation_score" in point] == [0.2, 0.7, 0.7, 0.7, 0.6]
    assert [point["step"] for point in curve if "best" in point] == [6]


def test_a_score_that_is_only_looked_at_keeps_nothing(
    new_training: NewTraining, make_batch: MakeBatch, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses(monkeypatch, 3.0, 1.0, 2.0, 4.0, 5.0)
    state = new_training()
    run(state, make_batch, looking(stage), score=counted(0.1, 0.2, 0.9, 0.3, 0.4))
    best = loop.best_look(state.trace, looking(stage))
    assert best is not None and best["step"] == 4


def test_patience_ends_with_the_score(
    new_training: NewTraining, make_batch: MakeBatch, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses(monkeypatch, 5.0, 4.0, 3.0, 2.0)  # the loss falls on
    state = new_training()
    run(state, make_batch, looking(stage, keep="score", patience=2), score=counted(0.5, 0.6, 0.5, 0.4))
    assert state.step == 8


@pytest.mark.parametrize("until", [1, 4, 5, 9])
def test_a_killed_stage_has_the_same_looks_and_leaves_the_same_weights(
    new_training: NewTraining, make_batch: MakeBatch, stage: Stage, tmp_path: Path, until: int
) -> None:
    rates = stage.learning_rate.model_copy(update={"init": 0.5, "warmup": 0.1, "min": 0.4})
    scored = looking(stage, keep="score", learning_rate=rates)
    straight = new_training()
    run(straight, make_batch, scored, score=of_weights)
    plain = new_training()
    run(plain, make_batch, scored.model_copy(update={"validation": None}))
    assert without_looks(straight.trace) == plain.trace
    points = ResumePoints(tmp_path, {"stage": "stage4"})

    def killed(state: loop.TrainingState) -> None:
        points.save(state)
        if state.step == until:
            raise KilledError

    with pytest.raises(KilledError):
        run(new_training(), make_batch, scored, killed, score=of_weights)
    again = new_training()
    points.restore(again)
    run(again, make_batch, scored, score=of_weights)
    assert again.trace == straight.trace
    for state in (straight, again):
        loop.leave_best(state)
    for name, parameter in straight.parameters.items():
        assert torch.equal(parameter, again.parameters[name]), name

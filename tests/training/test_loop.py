"""The training loop: losses weighted by tokens, guards before the optimizer, a curve without gaps."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from tests.training.conftest import without_dropout
from tinygptv.config import Stage
from tinygptv.data.batches import Batch, batch_digest
from tinygptv.training.curve import loss_curve
from tinygptv.training.loop import TrainingState, new_state, train
from tinygptv.training.loss import batch_loss
from tinygptv.training.optimizer import learning_rate, set_learning_rate
from tinygptv.training.step import DivergedError, MadeStep, optimizer_step

NewTraining = Callable[..., TrainingState]
MakeBatch = Callable[..., Batch]
CPU = torch.device("cpu")


def weights(state: TrainingState) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in state.model.named_parameters()}


@pytest.mark.parametrize("size", [1, 2, 4])
def test_micro_batches_change_neither_loss_nor_gradients(
    new_training: NewTraining, make_batch: MakeBatch, stage: Stage, size: int
) -> None:
    results = []
    for parts in ([slice(None)], [slice(i, i + size) for i in range(0, 8, size)]):
        state = new_training()
        state.model.eval()
        gradients: dict[str, torch.Tensor] = {}
        state.optimizer.register_step_pre_hook(
            lambda *_, into=gradients, of=state: into.update(
                {name: p.grad.clone() for name, p in of.parameters.items() if p.grad is not None}
            )
        )
        loss, norm, _ = optimizer_step(state, [make_batch(0, rows) for rows in parts], stage)
        results.append((loss, norm, gradients))
    whole, split = results
    assert whole[2].keys() == state.parameters.keys()
    assert_close(split, whole)


def test_the_loss_is_the_mean_over_target_tokens(
    new_training: NewTraining, make_batch: MakeBatch, stage: Stage
) -> None:
    state, batch = new_training(), make_batch(0)
    state.model.eval()
    expected = state.model(
        input_ids=batch.input_ids,
        attention_mask=batch.attention_mask,
        labels=batch.labels,
        image_features=batch.image_features,
    ).loss
    loss, *_ = optimizer_step(state, [batch], stage)
    assert loss == pytest.approx(expected.item(), rel=1e-6)


def drawn(state: TrainingState, batches: list[Batch], stage: Stage, before: int) -> MadeStep:
    """Loss and norm of a step; ``before`` is where torch's generator happens to be."""
    torch.manual_seed(before)
    return optimizer_step(state, batches, stage)


def test_what_is_drawn_follows_from_seed_stage_step_and_micro_batch_alone(
    new_training: NewTraining, make_batch: MakeBatch, stage: Stage
) -> None:
    parts = [make_batch(0, slice(4)), make_batch(0, slice(4, 8))]
    once = drawn(new_training(), parts, stage, before=1)
    assert drawn(new_training(), parts, stage, before=2) == once
    others = []
    for change in ((8, "stage4"), (7, "stage2")):
        state = new_training()
        state.drawn_from = change
        others.append(drawn(state, parts, stage, before=1))
    later = new_training()
    later.trace = [{"step": 1, "loss": 1.0, "lr": 0.1, "grad_norm": 1.0, "batch": "0" * 16}]
    others.append(drawn(later, parts, stage, before=1))
    others.append(drawn(new_training(), parts[::-1], stage, before=1))
    assert len({once, *others}) == 5


@pytest.mark.parametrize("compiled", [False, True])
def test_computing_again_draws_the_same(
    new_training: NewTraining, make_batch: MakeBatch, stage: Stage, compiled: bool
) -> None:
    plain, again = new_training(), new_training()
    again.model.language_model.activation_checkpointing_enable({"use_reentrant": False})
    for state in (plain, again):
        for block in state.model.language_model.model.layers:
            if compiled:
                block.compile(backend="eager", fullgraph=True, dynamic=True)
    found, expected = (drawn(state, [make_batch(0)], stage, before) for before, state in enumerate((again, plain)))
    assert_close(found[:2], expected[:2])


def test_padding_does_not_enter_the_loss(new_training: NewTraining, make_batch: MakeBatch) -> None:
    state = new_training()
    state.model.eval()
    alone = sum(batch_loss(state.model, make_batch(0, slice(i, i + 1)), CPU, label_only=False) for i in range(8))
    assert_close(batch_loss(state.model, make_batch(0), CPU, label_only=False), alone)


def test_large_gradients_are_scaled_to_the_limit(
    new_training: NewTraining, make_batch: MakeBatch, stage: Stage
) -> None:
    state = new_training()
    norms = []
    state.optimizer.register_step_pre_hook(
        lambda *_: norms.append(torch.nn.utils.get_total_norm([p.grad for p in state.parameters.values()]).item())
    )
    _, norm, _ = optimizer_step(state, [make_batch(0)], stage.model_copy(update={"max_grad_norm": 0.01}))
    assert norm > 0.01
    assert norms == [pytest.approx(0.01, rel=1e-3)]


def test_an_infinite_limit_scales_nothing(new_training: NewTraining, make_batch: MakeBatch, stage: Stage) -> None:
    state, norms = new_training(), []
    state.optimizer.register_step_pre_hook(
        lambda *_: norms.append(torch.nn.utils.get_total_norm([p.grad for p in state.parameters.values()]).item())
    )
    _, norm, _ = optimizer_step(state, [make_batch(0)], stage.model_copy(update={"max_grad_norm": math.inf}))
    assert norms == [norm]


def assert_stopped(state: TrainingState, batches: list[Batch], stage: Stage, *parts: str) -> None:
    set_learning_rate(state.optimizer, 1e-2)
    before = weights(state)
    with pytest.raises(DivergedError) as stopped:
        optimizer_step(state, batches, stage)
    assert all(torch.equal(before[name], p) for name, p in state.model.named_parameters())
    moments = [moment for of_one in state.optimizer.state.values() for moment in of_one.values()]
    assert not any(moment.any() for moment in moments), "the optimizer counts a step that it did not make"
    for part in parts:
        assert part in str(stopped.value)
    assert "\n" not in str(stopped.value)


@pytest.mark.drill(24, "NaN or infinity in loss or gradient: stopped before the optimizer")
def test_a_loss_that_is_not_finite_stops_before_the_optimizer(
    new_training: NewTraining, make_batch: MakeBatch, stage: Stage
) -> None:
    good, bad = make_batch(0, slice(4)), make_batch(0, slice(4, 8))
    features_BQD = bad.image_features.clone()
    features_BQD[1] = math.nan
    state = new_training()
    state.trace = [{"step": step, "loss": 1.0, "lr": 0.1, "grad_norm": 1.0, "batch": "0" * 16} for step in range(1, 7)]
    records = ", ".join(f"record-0-{i}" for i in range(8))
    assert_stopped(state, [good, replace(bad, image_features=features_BQD)], stage, "step 7:", records)


@pytest.mark.drill(24, "NaN or infinity in loss or gradient: stopped before the optimizer")
def test_a_gradient_that_is_not_finite_stops_before_the_optimizer(
    new_training: NewTraining, make_batch: MakeBatch, stage: Stage
) -> None:
    state, name = new_training(), "projector.linear_2.bias"
    state.parameters[name].register_hook(lambda gradient: gradient * math.inf)
    assert_stopped(state, [make_batch(0)], stage, "step 1:", f"the gradient of {name} is not finite", "record-0-0")


def test_long_lists_of_records_are_shortened(new_training: NewTraining, make_batch: MakeBatch, stage: Stage) -> None:
    state = new_training()
    state.parameters["projector.linear_2.bias"].register_hook(lambda gradient: gradient * math.nan)
    assert_stopped(state, [make_batch(0), make_batch(1)], stage, "record-0-7 and 8 more")


def test_every_step_is_traced_and_the_curve_holds_means(
    new_training: NewTraining, make_batch: MakeBatch, stage: Stage
) -> None:
    state, seen = new_training(), []
    batches = [[make_batch(step)] for step in range(10)]
    train(state, batches, stage, on_step=lambda state: seen.append(state.step))
    assert seen == [point["step"] for point in state.trace] == list(range(1, 11))
    assert [point["batch"] for point in state.trace] == [batch_digest(batch.record_ids) for (batch,) in batches]
    assert len({point["batch"] for point in state.trace}) == 10
    curve = loss_curve(state.trace, stage)
    assert [point["step"] for point in curve] == [3, 6, 9, 10]
    assert curve[1]["loss"] == pytest.approx(sum(point["loss"] for point in state.trace[3:6]) / 3)
    assert curve[3]["loss"] == state.trace[9]["loss"]
    rates = [learning_rate(stage.learning_rate, t, steps_per_epoch=5, epochs=2) for t in range(10)]
    assert [point["lr"] for point in state.trace] == rates


def test_too_few_batches_are_no_finished_stage(new_training: NewTraining, make_batch: MakeBatch, stage: Stage) -> None:
    with pytest.raises(AssertionError, match="2 of 10 steps"):
        train(new_training(), [[make_batch(0)]] * 2, stage, on_step=lambda _: None)


def test_training_lowers_the_loss(new_training: NewTraining, make_batch: MakeBatch, stage: Stage) -> None:
    state, longer = new_training(), stage.model_copy(update={"steps_per_epoch": 30, "epochs": 1})
    train(state, [[make_batch(0)]] * 30, longer, on_step=lambda _: None)
    assert state.trace[-1]["loss"] < state.trace[0]["loss"] - 0.5


def test_a_repeat_begins_with_a_fresh_optimizer_and_schedule(
    new_training: NewTraining, make_batch: MakeBatch, stage: Stage
) -> None:
    once = stage.model_copy(update={"steps_per_epoch": 3, "epochs": 1})
    batches = [[make_batch(step)] for step in range(6)]
    twice = without_dropout(new_training())
    train(twice, batches, once.model_copy(update={"repeats": 2}), on_step=lambda _: None)
    one_by_one, expected = without_dropout(new_training()), []
    for part in (batches[:3], batches[3:]):
        one_by_one.optimizer = new_state(
            one_by_one.model, one_by_one.parameters, stage, one_by_one.drawn_from
        ).optimizer
        one_by_one.trace = []
        train(one_by_one, part, once, on_step=lambda _: None)
        expected += one_by_one.trace
    assert [p["lr"] for p in twice.trace] == [p["lr"] for p in expected]
    assert [p["loss"] for p in twice.trace] == [p["loss"] for p in expected]
    for name, parameter in twice.parameters.items():
        assert torch.equal(parameter, one_by_one.parameters[name]), name

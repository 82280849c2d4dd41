"""The schedule of the authors, and which parameters decay."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tinygptv.config import Config, Schedule, Stage
from tinygptv.training.optimizer import adamw, learning_rate, set_learning_rate

GOLDEN = [
    (1, {0: 1e-6, 1: 1.099e-6, 999: 9.9901e-5, 1000: 9.809017e-5, 2500: 9.0e-5, 4999: 8.000e-5}),
    (2, {0: 1e-6, 1: 1.0198e-6, 4999: 9.99802e-5, 5000: 9.707107e-5, 10000: 9.0e-5, 19999: 8.000e-5}),
    (3, {0: 1e-6, 1: 1.145e-6, 199: 2.9855e-5, 200: 2.809017e-5, 500: 2.0e-5, 999: 1.000005e-5}),
    (4, {0: 1e-6, 1: 1.009e-6, 999: 9.991e-6, 1000: 1.006906e-5, 25000: 4.5e-5, 49999: 8.000e-5}),
]


def rate_of(stage: Stage, step: int) -> float:
    return learning_rate(stage.learning_rate, step, steps_per_epoch=stage.steps_per_epoch, epochs=stage.epochs)


@pytest.mark.parametrize(("stage", "step", "rate"), [(s, t, rate) for s, rates in GOLDEN for t, rate in rates.items()])
def test_the_rate_is_the_authors(paper: Config, stage: int, step: int, rate: float) -> None:
    assert rate_of(paper.stage(f"stage{stage}"), step) == pytest.approx(rate, rel=5e-7)


def test_the_rate_drops_after_the_warm_up_and_rises_in_stage_4(paper: Config) -> None:
    assert rate_of(paper.stage1, 999) > rate_of(paper.stage1, 1000)
    rising = [rate_of(paper.stage4, step) for step in range(0, paper.stage4.steps, 500)]
    assert rising == sorted(rising)


def test_warm_up_counts_inside_the_epoch() -> None:
    schedule = Schedule(init=1.0, min=0.1, warmup=0.0, warmup_steps=8)
    rates = [learning_rate(schedule, t, steps_per_epoch=4, epochs=3) for t in range(8)]
    assert rates == [0.0, 0.125, 0.25, 0.375] * 2


def test_matrices_decay_and_the_rest_does_not() -> None:
    layer = nn.Linear(3, 3)
    optimizer = adamw(dict(layer.named_parameters()), weight_decay=0.5, betas=(0.9, 0.98))
    set_learning_rate(optimizer, 0.1)
    before = {name: p.detach().clone() for name, p in layer.named_parameters()}
    for parameter in layer.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    torch.testing.assert_close(layer.weight.detach(), before["weight"] * (1 - 0.1 * 0.5))
    assert torch.equal(layer.bias, before["bias"])
    assert {group["betas"] for group in optimizer.param_groups} == {(0.9, 0.98)}


def test_norms_alone_make_an_optimizer() -> None:
    optimizer = adamw(dict(nn.LayerNorm(3).named_parameters()), weight_decay=0.5, betas=(0.9, 0.98))
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.0]

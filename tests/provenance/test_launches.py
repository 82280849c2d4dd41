"""Operations of a training step that are counted, and the number that a step keeps to."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function

from tests.training.plain import plain, plain_loss
from tinygptv.config import Config
from tinygptv.model import TinyGPTVForConditionalGeneration
from tinygptv.provenance.launches import DATA_WAIT, Launches, kind, launches
from tinygptv.training import compiled
from tinygptv.training.loss import batch_loss
from tinygptv.training.preparation import prepare

CPU = torch.device("cpu")
STATED = {"stage1": (240, 212), "stage2": (298, 270)}
"""Stage → operations of a micro-batch of the smoke model in bfloat16, by the plain path and by ours: docs/speed.md."""


def counted(compute: Callable[[], object]) -> Launches:
    with profile(activities=[ProfilerActivity.CPU]) as found:
        compute()
    return launches(found, 1, 1.0)


@pytest.mark.parametrize("stage", STATED)
def test_a_micro_batch_launches_no_more_than_is_stated(
    make_model: Callable[..., TinyGPTVForConditionalGeneration], smoke: Config, stage: str
) -> None:
    model, settings = make_model(0), smoke.stage(stage).model_copy(update={"label_only_logits": True})
    for part in model.language_model.modules():
        if isinstance(part, nn.Linear | nn.Embedding):
            part.to(torch.bfloat16)
    prepare(model, smoke, stage)
    model.train()
    twin, batch = plain(model), next(compiled.largest_batches(smoke, settings))
    found = {}
    for name, loss in (
        ("plain", lambda: plain_loss(twin, batch)),
        ("ours", lambda: batch_loss(model, batch, CPU, label_only=True)),
    ):
        loss().backward()  # the first gradients are made, later ones are added
        found[name] = counted(lambda loss=loss: loss().backward()).a_step
    assert (found["plain"], found["ours"]) == pytest.approx(STATED[stage], rel=0.02)
    assert found["ours"] < found["plain"]


def test_phases_are_told_apart_and_views_are_no_launches() -> None:
    weight = nn.Parameter(torch.ones(64, 64))
    optimizer = torch.optim.AdamW([weight], fused=True)

    def step() -> None:
        with record_function(DATA_WAIT):
            rows = torch.ones(8, 64)
        ((rows @ weight).view(64, 8).t().sum() * 2).backward()
        optimizer.step()

    step()
    found = counted(step)
    assert min(found.phases.values()) > 0
    assert sum(found.phases.values()) < 60
    assert found.counts["aten::mm"] >= 1
    assert not {"aten::view", "aten::t", "aten::transpose", "aten::empty"} & set(found.counts)
    assert (found.gpu, found.busy) == (False, None)


def test_kinds_of_work() -> None:
    assert kind("aten::addmm") == "matrix products"
    assert kind("aten::_scaled_dot_product_flash_attention_for_cpu") == "attention"
    assert kind("void at::native::vectorized_layer_norm_kernel<float>") == "norms"
    assert kind("aten::_fused_adamw_") == "optimizer"
    assert kind("aten::gelu_backward") == "elementwise and sums"

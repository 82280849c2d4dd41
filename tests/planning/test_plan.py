"""Whether a device is large enough, and what the plan says where it is not."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from tinygptv.ground.errors import UserError
from tinygptv.ground.names import STAGES
from tinygptv.ground.workers import ALONE
from tinygptv.planning import plan
from tinygptv.planning.data import set_plans
from tinygptv.planning.memory import StageMemory, stage_memory
from tinygptv.planning.plan import GB, changed, check, make_plan
from tinygptv.planning.sizes import measure
from tinygptv.steps import train


@pytest.fixture(scope="module")
def sizes(paper):
    return measure(paper)


def test_all_stages_of_the_paper_fit_a_card_of_24_gb(paper):
    made = make_plan(paper, "paper", "cuda", 24 * GB, {})
    assert [stage.fits for stage in made.stages] == [True] * 4
    assert made.fits
    assert all(stage.changes == () for stage in made.stages)
    assert all(step.peak <= 24 * GB for step in made.steps)


def test_resume_points_are_those_of_a_stage_that_trains(paper):
    idle = {name: paper.stage(name).model_copy(update={"epochs": 0}) for name in STAGES}
    made = [
        make_plan(paper.model_copy(update=idle | trained), "paper", "cuda", 24 * GB, {}).disk[2]
        for trained in ({"stage1": paper.stage1}, {})
    ]
    assert made[0].what == "resume points of stage1 while it runs"
    assert made[0].size > made[1].size == 0


def test_a_stage_without_epochs_needs_nothing(plain):
    idle = plain.model_copy(update={"stage1": plain.stage1.model_copy(update={"epochs": 0})})
    made = make_plan(idle, "paper", "cuda", 16 * GB, {})
    first, second = made.stages[:2]
    assert (first.fits, first.memory.peak, first.trainable, first.compute.samples) == (True, 0, 0, 0)
    assert set(first.hours.values()) == {0.0}
    assert (second.fits, second.memory) == (False, make_plan(plain, "paper", "cuda", 16 * GB, {}).stages[1].memory)


@pytest.mark.parametrize("capacity", [2, 8])
@pytest.mark.parametrize("name", STAGES)
def test_a_named_change_has_the_peak_that_it_is_said_to_have(plain, sizes, name, capacity):
    made = plan._stage_plan(plain, name, sizes, "cuda", capacity * GB, set_plans(plain, {}))
    if made.fits:
        assert made.changes == ()
        return
    assert made.changes
    for change in made.changes:
        other = changed(plain, change.settings)
        type(other).model_validate(other.model_dump(by_alias=True))  # the schema allows it
        assert stage_memory(other, name, sizes, "cuda").peak == change.peak
        assert change.fits == (change.peak <= capacity * GB)
    smaller = [change.peak for change in made.changes if change.peak < made.memory.peak]
    assert smaller


def test_the_levers_are_named_with_their_keys(plain):
    stage = {"compile": False, "label_only_logits": False, "batch_size": 64}
    wide = plain.model_copy(update={"stage2": plain.stage2.model_copy(update=stage)})
    made = make_plan(wide, "paper", "cuda", 24 * GB, {})
    changes = {str(change): change.fits for change in made.stages[1].changes}
    assert changes == {
        "stage2.label_only_logits: true": False,
        "stage2.gradient_checkpointing: true": True,
        "stage2.micro_batch_size: 32": True,
        "stage2.base_8bit: true": False,
    }


def test_levers_are_put_together_where_one_is_not_enough(plain, sizes):
    last = plan._stage_plan(plain, "stage4", sizes, "cuda", 8 * GB, set_plans(plain, {}))
    assert not last.fits
    assert [str(change) for change in last.changes if change.fits] == [
        "stage4.micro_batch_size: 1, stage4.base_8bit: true"
    ]


def test_a_refusal_is_one_line_with_peak_device_and_fix(plain, sizes):
    check(plain, "stage2", "cuda", 26 * GB)
    with pytest.raises(UserError) as refused:
        check(plain, "stage2", "cuda", 16 * GB)
    text = str(refused.value)
    assert "\n" not in text
    peak = stage_memory(plain, "stage2", sizes, "cuda").peak
    assert f"training needs {peak / GB:.1f} GB" in text
    assert "the GPU has 16.0 GB free" in text
    assert "set stage2.gradient_checkpointing: true in the profile (10.1 GB)" in text


def test_nothing_helps_on_a_device_smaller_than_the_weights(plain):
    with pytest.raises(UserError, match=r"this machine has 1\.0 GB; no setting makes it smaller than \d\.\d GB"):
        check(plain, "stage1", "cpu", GB)


def test_training_refuses_before_it_reads_anything(smoke, monkeypatch):
    def read(step: str) -> None:
        raise AssertionError(f"{step} was read")

    context = SimpleNamespace(step="stage2", config=smoke, seed=1, input=read, workers=ALONE)
    monkeypatch.setattr(plan, "device_here", lambda settings: ("cpu", 1_000_000))
    with pytest.raises(UserError, match="training needs"):
        train.run(context)
    monkeypatch.setattr(plan, "device_here", lambda settings: ("cpu", GB * 100))
    with pytest.raises(AssertionError, match="was read"):
        train.run(context)


def test_the_machine_is_asked_for_its_memory(smoke):
    device, capacity = plan.device_here(smoke.runtime)
    assert device == "cpu"
    assert capacity > GB // 2


def test_the_peak_is_the_sum_with_the_larger_of_what_never_meets():
    parts = {"weights": 1, "gradients": 2, "optimizer": 4, "activations": 8, "passing": 100, "reserve": 16}
    assert StageMemory(**parts, encoding=0).peak == 131
    assert StageMemory(**parts, encoding=108).peak == 131
    assert StageMemory(**parts, encoding=109).peak == 132


def test_a_gpu_has_what_is_free_of_it(smoke, monkeypatch):
    monkeypatch.setattr("tinygptv.ground.runtime.resolve_device", lambda name: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (5, 24))
    assert plan.device_here(smoke.runtime) == ("cuda", 5)

"""What the plan says of data sets, beside counts by hand and real files."""

from __future__ import annotations

import pytest

from tinygptv.data.shards import read_samples
from tinygptv.data.summary import TRAINING, tars
from tinygptv.ground.names import STAGES
from tinygptv.planning.compute import encoder_forward
from tinygptv.planning.data import Counted, cheaper_way, count_sets, drawn, encoding_hours, set_plans
from tinygptv.planning.plan import GB, make_plan
from tinygptv.planning.table import as_json, render


def test_draws_are_those_of_the_stage(paper):
    first, last = drawn(paper.stage1), drawn(paper.stage4)
    assert first["laion"] == pytest.approx(17 * 5000 * 64 * 115 / 129)
    assert sum(first.values()) == pytest.approx(5_440_000)
    assert last["gqa"] == pytest.approx(50_000 * 3 * 50 / sum(paper.stage4.mixture.values()))


def test_a_set_is_listed_once_for_each_resolution_with_the_draws_of_its_stages(paper):
    plans = {(plan.dataset, plan.image_size): plan for plan in set_plans(paper, {})}
    laion = plans["laion", 224]
    assert laion.stages == ("stage1", "stage2")
    assert laion.samples == pytest.approx((5_440_000 + 1_280_000) * 115 / 129)
    assert len(plans) == 3 + len(paper.stage4.mixture)


def test_families_of_a_set_are_one_set(smoke):
    by_size = {plan.image_size: plan for plan in set_plans(smoke, {})}
    assert by_size.keys() == {32, 64}
    assert by_size[64].samples == pytest.approx(smoke.stage4.steps * smoke.stage4.batch_size)


@pytest.mark.parametrize(("images", "cheaper"), [(1_000_000, "cached"), (115_000_000, "in_loop")])
def test_caching_pays_where_images_are_drawn_more_often_than_once(paper, images, cheaper):
    counted = {"laion": Counted(images=images, size=1), "cc_sbu": Counted(images=100, size=1)}
    plans = set_plans(paper, counted)
    laion = next(plan for plan in plans if plan.dataset == "laion")
    assert laion.cheaper == cheaper
    assert laion.once == images * encoder_forward(paper, 224)
    assert laion.features == images * (32 * 768 * 2 + 36)
    assert cheaper_way(paper, "stage1", plans) == cheaper
    assert cheaper_way(paper, "stage4", plans) is None  # its sets are not counted


def test_a_stage_without_epochs_draws_nothing(paper):
    none = {name: paper.stage(name).model_copy(update={"epochs": 0}) for name in ("stage1", "stage2")}
    config = paper.model_copy(update=none)
    plans = set_plans(config, {"cc_sbu_align": Counted(images=3000, size=1)})
    assert "laion" not in {plan.dataset for plan in plans}
    assert [cheaper_way(config, name, plans) for name in ("stage1", "stage3")] == [None, "cached"]


def test_hours_are_operations_by_the_assumed_speed():
    assert encoding_hours(71.0e12 * 0.35 * 3600, "RTX 3090") == pytest.approx(1.0)


def test_sets_are_counted_in_their_shards(small_shards, tmp_path):
    assert count_sets(tmp_path / "absent") == {}
    found = count_sets(small_shards.parent)
    assert list(found) == [small_shards.name]
    paths = tars(small_shards, TRAINING)
    assert found[small_shards.name].size == sum(len(path.read_bytes()) for path in paths)
    assert found[small_shards.name].images == len(list(read_samples(paths))) > 1


def test_the_table_has_bytes_hours_and_the_cheaper_way(paper):
    counted = {"laion": Counted(images=115_000_000, size=9 * 10**12), "cc_sbu": Counted(images=100, size=10**9)}
    made = make_plan(paper, "paper", "cuda", 24 * GB, counted)
    lines = render(made).splitlines()
    assert max(map(len, lines)) <= 100
    (row,) = [line.split() for line in lines if line.startswith("laion, 224")]
    hours = encoding_hours(115_000_000 * encoder_forward(paper, 224), "RTX 3090")
    assert row[2:] == ["115,000,000", "5,990,698", "9,000", "5,657", f"{hours:.1f}", "35.7", "in_loop"]
    assert next(line.split() for line in lines if line.startswith("  cheaper")) == [
        "cheaper",
        *["in_loop"] * 2,
        "?",
        "?",
    ]
    entry = as_json(made)["sets"][0]
    assert (entry["dataset"], entry["cheaper"], entry["features"]) == ("laion", "in_loop", 115_000_000 * 49_188)
    assert entry["hours"]["RTX 3090"]["once"] == hours


def test_a_change_to_cached_is_named_where_the_encoder_does_not_fit(plain):
    small = {"features": "in_loop", "micro_batch_size": 16}
    update = {name: plain.stage(name).model_copy(update=small) for name in STAGES}
    made = make_plan(plain.model_copy(update=update), "paper", "cuda", 11 * GB, {})
    assert made.stages[0].changes[0].settings == {"stage1.gradient_checkpointing": True}
    assert {"stage1.features": "cached"} in [change.settings for change in made.stages[0].changes if change.fits]
    assert "  encoding in the loop *" in render(made)

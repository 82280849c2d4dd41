"""The order of samples is a pure function of seed, stage and k, with exact shares."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygptv.data.order import Draw, SampleOrder, quotas
from tinygptv.ground.errors import DataError

SIZES = {"vqa": 23, "caption": 5, "refer": 7}
WEIGHTS = {"vqa": 72.0, "caption": 3.0, "refer": 14.0}
EPOCH = 40


def make_order(**changes: object) -> SampleOrder:
    arguments: dict = {"sizes": SIZES, "weights": WEIGHTS, "epoch_size": EPOCH, "seed": 7, "stage": "stage4"}
    arguments["samples"] = dict.fromkeys(WEIGHTS, 1)
    return SampleOrder(**arguments | changes)


def draws(order: SampleOrder, count: int = 5 * EPOCH) -> list[Draw]:
    return [order.draws(k)[0] for k in range(count)]


def test_every_epoch_has_the_exact_shares() -> None:
    order = make_order()
    assert order.quotas == {
        "vqa": 33,
        "caption": 1,
        "refer": 6,
    }  # of 32.36, 1.35 and 6.29: the largest remainder is .36
    for epoch in range(5):
        tasks = Counter(order.draws(epoch * EPOCH + i)[0].task for i in range(EPOCH))
        assert tasks == order.quotas


@pytest.mark.parametrize("task", SIZES)
def test_every_record_comes_once_before_one_comes_twice(task: str) -> None:
    records = [draw.record for draw in draws(make_order(), 20 * EPOCH) if draw.task == task]
    size = SIZES[task]
    quota = make_order().quotas[task]
    # Within an epoch the places are shuffled, so a pass may overlap the next within one epoch only.
    counts = Counter(records)
    assert set(counts) == set(range(size))
    assert max(counts.values()) - min(counts.values()) <= 1
    for epoch in range(1, 20):
        seen = Counter(records[: epoch * quota])
        assert max(seen.values()) - min(seen.get(i, 0) for i in range(size)) <= 1


def test_passes_have_different_orders() -> None:
    order = make_order(sizes={"vqa": 40}, weights={"vqa": 1.0})
    epochs = [[order.draws(epoch * EPOCH + i)[0].record for i in range(EPOCH)] for epoch in range(3)]
    assert all(sorted(epoch) == list(range(40)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]


@given(st.permutations(range(3 * EPOCH)))
def test_a_draw_does_not_depend_on_those_before(ks: list[int]) -> None:
    sequential, order = draws(make_order(), 3 * EPOCH), make_order()
    assert [order.draws(k)[0] for k in ks] == [sequential[k] for k in ks]


@pytest.mark.parametrize("change", [{"seed": 8}, {"stage": "stage3"}])
def test_another_seed_or_stage_is_another_order(change: dict[str, object]) -> None:
    assert draws(make_order()) == draws(make_order())
    assert draws(make_order()) != draws(make_order(**change))


def test_the_order_of_the_mixture_does_not_matter() -> None:
    assert draws(make_order()) == draws(make_order(weights=dict(reversed(WEIGHTS.items()))))


def test_templates_vary() -> None:
    templates = {draw.template for draw in draws(make_order())}
    assert len(templates) > 190
    assert {template % 7 for template in templates} == set(range(7))


def test_places_of_several_samples_go_through_all_records_too() -> None:
    order = make_order(samples={"vqa": 3, "caption": 1, "refer": 2})
    records: dict[str, list[int]] = {task: [] for task in SIZES}
    for k in range(10 * EPOCH):
        draws_of_place = order.draws(k)
        for draw in draws_of_place:
            records[draw.task].append(draw.record)
        templates = [draw.template for draw in draws_of_place]
        assert templates == list(range(templates[0], templates[0] + len(templates)))
    for task, size in SIZES.items():
        counts = Counter(records[task])
        assert set(counts) == set(range(size))
        assert max(counts.values()) - min(counts.values()) <= 1


def test_a_share_that_is_no_place_is_refused_by_name() -> None:
    with pytest.raises(DataError, match=r"stage4\.mixture: the share of refer is none of an epoch's 40 places"):
        make_order(weights={"vqa": 72.0, "caption": 3.0, "refer": 0.1})
    assert min(make_order(weights={"vqa": 72.0, "caption": 3.0, "refer": 1.5}).quotas.values()) == 1


@pytest.mark.parametrize("sizes", [{"vqa": 3, "caption": 2}, {**SIZES, "refer": 0}])
def test_a_task_without_records_is_refused(sizes: dict[str, int]) -> None:
    with pytest.raises(DataError, match=r"stage4\.mixture names refer"):
        make_order(sizes=sizes)


@given(st.dictionaries(st.sampled_from("abcdef"), st.floats(0.01, 100), min_size=1), st.integers(1, 5000))
def test_quotas_are_whole_and_exact(weights: dict[str, float], total: int) -> None:
    shares = quotas(weights, total)
    assert sum(shares.values()) == total
    for task, weight in weights.items():
        assert abs(shares[task] - total * weight / sum(weights.values())) < 1 + 1e-6

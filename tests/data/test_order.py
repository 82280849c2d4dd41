"""The order of samples is a pure function of seed, stage and k, with exact shares."""

from __future__ import annotations

import math
import tracemalloc
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygptv.data.order import CHUNK, Draw, SampleOrder, permuted, quotas, seed_of
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


SEQUENTIAL = draws(make_order(), 4 * CHUNK)


def shuffled(size: int, turn: int = 0, name: str = "a") -> list[int]:
    found: list[int] = permuted(np.arange(size), size, np.full(size, turn), (7, "stage4", name)).tolist()
    return found


@given(st.integers(1, 3000), st.integers(0, 2**40))
def test_a_shuffle_is_a_permutation(size: int, turn: int) -> None:
    assert sorted(shuffled(size, turn)) == list(range(size))


@pytest.mark.parametrize("size", [2**k + d for k in (6, 7, 16) for d in (-1, 0, 1)])
def test_a_shuffle_is_a_permutation_at_the_edges_of_a_power_of_two(size: int) -> None:
    assert sorted(shuffled(size)) == list(range(size))


@given(st.integers(1, 2**40), st.integers(0, 2**40 - 1))
def test_a_part_of_a_large_shuffle_has_different_numbers_in_its_range(size: int, start: int) -> None:
    index = np.arange(start % size, min(size, start % size + 500))
    found = permuted(index, size, np.zeros(len(index), np.int64), ("large",))
    assert len(set(found.tolist())) == len(index)
    assert 0 <= found.min() <= found.max() < size


def test_one_call_may_ask_for_several_turns() -> None:
    turns = np.array([3, 0, 3, 1])
    index = np.array([5, 5, 6, 0])
    found = permuted(index, 40, turns, (7, "stage4", "a"))
    assert found.tolist() == [shuffled(40, turn)[i] for turn, i in zip(turns.tolist(), index.tolist(), strict=True)]


def test_the_order_is_the_same_on_every_machine_and_in_every_version() -> None:
    assert shuffled(10) == [3, 6, 9, 5, 4, 8, 7, 0, 2, 1]
    assert SEQUENTIAL[:3] == [
        Draw(entry="vqa", record=13, template=218652122, answer=14510403852728462619),
        Draw(entry="refer", record=1, template=1477462247, answer=18007165315422951349),
        Draw(entry="vqa", record=11, template=499398609, answer=10079207215722755898),
    ]


def test_a_seed_is_of_its_name_alone_and_the_same_on_every_machine() -> None:
    assert seed_of((7, "stage4", "drawn", 12, 3)) == 3425510498883856173
    names = [
        (seed, stage, "drawn", step, leaf) for seed in (7, 71) for stage in "ab" for step in (1, 11) for leaf in (1, 0)
    ]
    assert len({seed_of(name) for name in names}) == len(names)
    assert all(0 <= seed_of(name) < 2**63 for name in names)


def far_from_even(counts: list[int], cells: int) -> float:
    """Standard deviations of a chi-square statistic above what chance gives."""
    even = sum(counts) / cells
    square = sum((count - even) ** 2 / even for count in [*counts, *[0] * (cells - len(counts))])
    return (square - (cells - 1)) / math.sqrt(2 * (cells - 1))


@pytest.mark.parametrize("size", [2, 3, 4, 5, 6])
def test_all_orders_of_a_few_records_are_alike(size: int) -> None:
    passes = 20_000
    turns = np.repeat(np.arange(passes), size)
    found = permuted(np.tile(np.arange(size), passes), size, turns, ("few",)).reshape(passes, size)
    assert far_from_even(list(Counter(map(tuple, found.tolist())).values()), math.factorial(size)) < 4


@pytest.mark.parametrize("size", [100, 1000, 5_440_000])
def test_neighbours_passes_and_keys_have_nothing_in_common(size: int) -> None:
    """The ranks that two look-ups give fall evenly into a table of 10 x 10, and do not rise together."""
    count = min(size, 20_000)
    index, again = np.arange(count), np.full(count, 1)
    one = permuted(index, size, 0 * again, ("stage1", "a"))
    others = {
        "neighbour": np.roll(one, 1),
        "place": index * (size // count),
        "pass": permuted(index, size, again, ("stage1", "a")),
        "entry": permuted(index, size, 0 * again, ("stage1", "b")),
        "stage": permuted(index, size, 0 * again, ("stage2", "a")),
    }
    for name, other in others.items():
        cells = Counter(zip((one * 10 // size).tolist(), (other * 10 // size).tolist(), strict=True))
        assert far_from_even(list(cells.values()), 100) < 4, name
        assert abs(np.corrcoef(one, other)[0, 1]) < 4 / math.sqrt(count), name
        assert (one == other).sum() < 10, name


def test_nothing_in_memory_grows_with_the_number_of_records() -> None:
    sizes = {"vqa": 2**40, "caption": 2**40, "refer": 2**40}
    order = make_order(sizes=sizes, epoch_size=2**40)
    tracemalloc.start()
    try:
        assert order.draws(2**45)[0] != order.draws(2**45 + 1)[0]
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()


def test_answers_and_templates_are_drawn_alike() -> None:
    parts = Counter((draw.template % 5, draw.answer * 5 >> 64) for draw in SEQUENTIAL)
    assert far_from_even(list(parts.values()), 25) < 4
    assert far_from_even(list(Counter(draw.answer >> 60 for draw in SEQUENTIAL).values()), 16) < 4


def test_every_epoch_has_the_exact_shares() -> None:
    order = make_order()
    assert order.quotas == {
        "vqa": 33,
        "caption": 1,
        "refer": 6,
    }  # of 32.36, 1.35 and 6.29: the largest remainder is .36
    for epoch in range(5):
        tasks = Counter(order.draws(epoch * EPOCH + i)[0].entry for i in range(EPOCH))
        assert tasks == order.quotas


@pytest.mark.parametrize("task", SIZES)
def test_every_record_comes_once_before_one_comes_twice(task: str) -> None:
    records = [draw.record for draw in draws(make_order(), 20 * EPOCH) if draw.entry == task]
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


@given(st.permutations(range(0, 4 * CHUNK, 311)))
def test_a_draw_does_not_depend_on_those_before(ks: list[int]) -> None:
    order = make_order()
    assert [order.draws(k)[0] for k in ks] == [SEQUENTIAL[k] for k in ks]


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
            records[draw.entry].append(draw.record)
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

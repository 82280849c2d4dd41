from __future__ import annotations

import pytest

from tinygptv.own_data.amounts import FEWEST_STEPS, MOST_STEPS, PASSES, Amounts, amounts, held_out, rounded_up


def of(records: int, **given) -> Amounts:
    settings = {"batch": 64, "micro": 64, "warmup": 20, "checkpointing": False, "fits": lambda size, again: True}
    return amounts(records, **{**settings, **given})


def test_few_records_are_met_often_and_many_seldom():
    found = [of(records) for records in (10, 100, 400, 1_000, 10_000, 1_000_000)]
    assert [one.batch_size for one in found] == [8, 8, 32, 64, 64, 64]
    met = [one.passes for one in found]
    assert met == sorted(met, reverse=True)
    assert found[3].passes == pytest.approx(12, abs=0.1)
    assert all(one.passes <= PASSES[1] + 1 for one in found[1:])
    assert found[0].steps == FEWEST_STEPS
    assert found[-1].steps == MOST_STEPS


def test_warm_up_and_points_follow_the_steps():
    few, many = of(10), of(100_000)
    assert few.warmup_steps == FEWEST_STEPS // 10
    assert many.warmup_steps == 20
    assert (few.log_every, many.log_every) == (1, many.steps // 50)
    assert few.checkpoint_every == 10


def test_a_small_device_gets_smaller_passes_before_blocks_are_computed_again():
    assert of(10_000, fits=lambda size, again: size <= 16).micro_batch_size == 16
    found = of(10_000, fits=lambda size, again: again and size <= 32)
    assert (found.micro_batch_size, found.gradient_checkpointing, found.fits) == (32, True, True)
    assert of(10_000, checkpointing=True).gradient_checkpointing
    none = of(10_000, fits=lambda size, again: False)
    assert (none.micro_batch_size, none.gradient_checkpointing, none.fits) == (1, True, False)


@pytest.mark.parametrize("batch", [1, 3, 6, 48])
def test_a_batch_divides_into_its_passes(batch):
    for records in (1, 50, 5_000):
        found = of(records, batch=batch, micro=min(batch, 4))
        assert found.batch_size % found.micro_batch_size == 0
        assert 1 <= found.batch_size <= batch


def test_a_fifth_of_few_images_is_asked_and_2000_of_many():
    assert held_out(200) == {"val": 0.1, "test": 0.2}
    assert held_out(1_000_000) == {"val": 0.001, "test": 0.002}
    assert 1_950 < held_out(5_400_000)["test"] * 5_400_000 < 2_050


def test_rounding_is_up():
    assert [rounded_up(count) for count in (1, 8, 8.1, 9)] == [8, 8, 16, 16]

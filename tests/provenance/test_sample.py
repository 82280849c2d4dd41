"""What a weekly verification looks at: drawn from date and seed, every step once in four weeks."""

from __future__ import annotations

from collections import Counter
from datetime import date, timedelta

from tinygptv.ground.names import STAGES, STEPS
from tinygptv.provenance.sample import PARTS, WEEKS, WeeklyDraw, a_month

FIRST = date.fromordinal(7 * WEEKS * 26_450)
"""A period begins with it."""
LONG = {"stage3": 4 * 86_400.0, "stage4": 5_000.0, "features": 3_000.0, "evaluate": 9 * 86_400.0}


def weeks(seed: int = 7, hours: float = 1.0) -> list[WeeklyDraw]:
    return [WeeklyDraw(FIRST + timedelta(days=7 * week), seed, hours) for week in range(WEEKS)]


def test_every_step_is_run_again_once_in_four_weeks_and_none_that_takes_days():
    for seed in range(5):
        drawn = [sample.whole(STEPS, LONG) for sample in weeks(seed)]
        assert Counter(step for week in drawn for step in week) == Counter(set(STEPS) - {"stage3", "stage4"})
        assert max(map(len, drawn)) - min(map(len, drawn)) <= 1
        assert all(list(week) == [step for step in STEPS if step in week] for week in drawn)
        assert {sample.in_parts(STEPS, LONG) for sample in weeks(seed)} == {("stage3", "stage4")}
    assert weeks()[0].in_parts(STEPS, {}) == ()
    assert WeeklyDraw(FIRST, 7, 0.5).in_parts(STEPS, LONG) == ("features", "stage3", "stage4")


def test_the_day_of_the_week_does_not_matter_and_the_period_and_seed_do():
    assert len({WeeklyDraw(FIRST + timedelta(days=day), 7, 1.0).whole(STEPS, {}) for day in range(7)}) == 1
    assert len({sample.whole(STEPS, {}) for seed in range(9) for sample in weeks(seed)[:1]}) > 3
    periods = (FIRST + timedelta(days=7 * WEEKS * period) for period in range(9))
    assert len({WeeklyDraw(day, 7, 1.0).whole(STEPS, {}) for day in periods}) > 3


def test_four_weeks_make_other_parts_again_until_there_are_no_more():
    for total in (0, 3, PARTS * WEEKS, 24_000):
        drawn = [number for sample in weeks() for number in sample.parts("stage3", total)]
        assert len(set(drawn)) == len(drawn) == min(total, PARTS * WEEKS)
        assert set(drawn) <= set(range(total))
    assert weeks()[0].parts("stage3", 24_000) == weeks()[0].parts("stage3", 24_000)
    assert weeks()[0].parts("stage3", 24_000) != weeks()[0].parts("stage4", 24_000)


def test_what_a_month_covers_is_said():
    assert a_month(8, {"stage3": 24_000, "features": 20}) == (
        "in four weeks: each of 8 steps whole, once; stage3 32 of 24,000 batches (0.13%); features 20 of 20 blocks "
        "(100.00%)"
    )
    assert set(STAGES) <= set(STEPS)

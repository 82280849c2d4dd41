"""Numbers and their intervals: beside slow twins with the same draws, beside published figures, and at their edges."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygptv.evaluation import statistics
from tinygptv.evaluation.benchmarks.seam import Metric, each, mean
from tinygptv.evaluation.statistics import by_kind, interval, number, paired, wilson_interval


def f1(columns_QC, weights_Q):
    """Of columns with found, told and true ones: a function of sums that is no mean."""
    found, told, true = (columns_QC * weights_Q[:, None]).sum(axis=0)
    return 2 * found / (told + true) if told + true else math.nan


def ranked(columns_QC, weights_Q):
    """Share of pairs of a positive and a negative in which the positive has the higher score (AUROC), literally."""
    label_Q, score_Q = columns_QC.T
    wins = pairs = 0.0
    for place in np.flatnonzero(label_Q == 1):
        weight_Q = weights_Q[place] * weights_Q * (label_Q == 0)
        wins += (weight_Q * ((score_Q < score_Q[place]) + 0.5 * (score_Q == score_Q[place]))).sum()
        pairs += weight_Q.sum()
    return wins / pairs if pairs else math.nan


def metric(value=mean, *, additive=True):
    return Metric(
        name="m", variant="v", columns=each(lambda *_: ()), value=value, additive=additive, undefined="one class"
    )


def column(values):
    return np.asarray(values, dtype=np.float64)[:, None]


def answers(count, share, seed):
    return column(np.random.default_rng(seed).random(count) < share)


def labels_and_scores(count, seed):
    draws = np.random.default_rng(seed)
    label_Q = draws.integers(0, 2, count)
    return np.stack([label_Q, np.round(draws.random(count) + 0.3 * label_Q, 1)], axis=1)


def told_and_true(count, seed):
    told_Q, true_Q = np.random.default_rng(seed).integers(0, 2, (2, count))
    return np.stack([told_Q * true_Q, told_Q, true_Q], axis=1).astype(np.float64)


def slow_draws(count, images, resamples, seed):
    """The questions of each resample, by name of their images."""
    names = sorted(set(images))
    draws = np.random.default_rng(seed)
    for _ in range(resamples):
        drawn = [names[place] for place in draws.integers(0, len(names), size=len(names))]
        yield [question for name in drawn for question in range(count) if images[question] == name]


def slow_ends(numbers):
    return np.quantile(numbers, 0.025), np.quantile(numbers, 0.975)


def alone(value, columns_QC):
    """A metric of drawn questions, each of which stands there as often as it was drawn."""
    return value(columns_QC, np.ones(len(columns_QC)))


@pytest.mark.parametrize("at_once", [1, 7, 100, 10**6])
def test_a_share_is_paired_exactly_as_by_its_slow_twin_in_parts_of_any_size(at_once, monkeypatch):
    monkeypatch.setattr(statistics, "DRAWS_AT_ONCE", at_once)
    first, second = answers(60, 0.9, 1), answers(60, 0.8, 2)
    images = [f"image-{place % 13}" for place in range(60)]
    gains = [
        sum(int(first[question, 0]) - int(second[question, 0]) for question in drawn) / len(drawn)
        for drawn in slow_draws(60, images, 200, 5)
    ]
    found = paired(metric(), first, second, images, 200, 5)
    assert (found.low, found.high) == slow_ends(gains)
    assert found.value == (first.sum() - second.sum()) / 60


CASES = [(metric(), answers(60, 0.7, 1)), (metric(), column(np.random.default_rng(0).random(60).round(1)))]
CASES += [(metric(f1), told_and_true(60, 3)), (metric(ranked, additive=False), labels_and_scores(60, 4))]


@pytest.mark.parametrize("at_once", [7, 10**6])
@pytest.mark.parametrize(("of", "columns"), CASES, ids=["share", "mean", "f1", "auroc"])
def test_an_interval_is_that_of_its_slow_twin(of, columns, at_once, monkeypatch):
    monkeypatch.setattr(statistics, "DRAWS_AT_ONCE", at_once)
    images = [place % 13 for place in range(60)]
    numbers = [alone(of.value, columns[drawn]) for drawn in slow_draws(60, images, 200, 5)]
    assert interval(of, columns, images, 200, 5) == pytest.approx(slow_ends(numbers), abs=1e-12)
    assert number(of, columns) == alone(of.value, columns)


@pytest.mark.parametrize(("of", "columns"), CASES[1:], ids=["mean", "f1", "auroc"])
def test_two_models_are_drawn_together(of, columns):
    images = [f"{place % 13}" for place in range(60)]
    other = np.roll(columns, 7, axis=0)
    drawn = list(slow_draws(60, images, 200, 5))
    gains = [alone(of.value, columns[questions]) - alone(of.value, other[questions]) for questions in drawn]
    found = paired(of, columns, other, images, 200, 5)
    assert (found.low, found.high) == pytest.approx(slow_ends(gains), abs=1e-12)
    assert found.value == pytest.approx(alone(of.value, columns) - alone(of.value, other), abs=1e-12)


def test_near_the_normal_approximation_where_each_question_has_its_image():
    first, second = answers(2000, 0.9, 3), answers(2000, 0.87, 4)
    found = paired(metric(), first, second, range(2000), 10_000, 1)
    gains = first - second
    half = 1.959964 * gains.std() / math.sqrt(2000)
    assert found.low == pytest.approx(gains.mean() - half, abs=0.001)
    assert found.high == pytest.approx(gains.mean() + half, abs=0.001)


def test_questions_of_one_image_are_not_independent():
    """Ten questions to each image, right or wrong together: the interval is that of the images."""
    first, second = (np.repeat(answers(100, 0.8, seed), 10, axis=0) for seed in (5, 6))
    by_image = paired(metric(), first, second, [place // 10 for place in range(1000)], 4000, 1)
    by_question = paired(metric(), first, second, range(1000), 4000, 1)
    ratio = (by_image.high - by_image.low) / (by_question.high - by_question.low)
    assert ratio == pytest.approx(math.sqrt(10), rel=0.1)


def test_equal_models_and_opposite_ones():
    right, wrong = np.ones((50, 1)), np.zeros((50, 1))
    same = paired(metric(), right, right, range(50), 1000, 0)
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)
    opposite = paired(metric(), right, wrong, range(50), 1000, 0)
    assert (opposite.value, opposite.low, opposite.high) == (1.0, 1.0, 1.0)


def test_the_seed_decides():
    first, second = answers(300, 0.9, 1), answers(300, 0.8, 2)
    once = paired(metric(), first, second, range(300), 1000, 1)
    assert paired(metric(), first, second, range(300), 1000, 1) == once
    assert paired(metric(), first, second, range(300), 1000, 2) != once


@pytest.mark.parametrize(("first", "second", "images"), [(0, 0, []), (1, 0, ["a"]), (1, 1, [])])
def test_what_cannot_be_paired(first, second, images):
    with pytest.raises(ValueError, match="cannot pair"):
        paired(metric(), np.zeros((first, 1)), np.zeros((second, 1)), images, 1000, 0)


def test_one_class_alone_has_no_number_and_no_interval():
    of, columns = metric(ranked, additive=False), np.asarray([[1, 0.2], [1, 0.4]])
    assert number(of, columns) is None
    assert interval(of, columns, [0, 1]) is None
    with pytest.raises(ValueError, match="cannot pair: m is undefined: one class"):
        paired(of, columns, columns, [0, 1], 1000, 0)


def test_one_of_a_class_is_in_too_few_resamples():
    of = metric(ranked, additive=False)
    columns = np.asarray([[1, 0.9], *([0, 0.1 * place] for place in range(9))])
    assert number(of, columns) == 1.0
    assert interval(of, columns, range(10)) is None
    with pytest.raises(ValueError, match="undefined in too many resamples"):
        paired(of, columns, columns, range(10), 1000, 0)


def test_a_row_of_nan_does_not_count():
    columns, images = answers(60, 0.7, 1), [place % 13 for place in range(60)]
    holes = np.insert(columns, [5, 40], math.nan, axis=0)
    around = [*images[:5], 99, *images[5:40], 3, *images[40:]]
    assert number(metric(), holes) == number(metric(), columns)
    assert interval(metric(), holes, around) == interval(metric(), columns, images)
    with_holes = paired(metric(), holes, np.zeros((62, 1)), around, 1000, 0)
    assert with_holes == paired(metric(), columns, np.zeros((60, 1)), images, 1000, 0)
    assert number(metric(), np.full((3, 1), math.nan)) is None and number(metric(), np.zeros((0, 1))) is None
    with pytest.raises(AssertionError):
        number(metric(), np.asarray([[1.0, math.nan]]))


def test_weights_count_as_often():
    columns = answers(10, 0.5, 3)
    assert number(metric(), columns, np.arange(10.0)) == np.repeat(columns, range(10)).mean()
    assert number(metric(), columns, np.zeros(10)) is None


def test_a_share_without_shared_images_has_wilsons_interval():
    columns = answers(263, 0.3, 1)
    expected = wilson_interval(int(columns.sum()), 263)
    assert interval(metric(), columns, range(263)) == expected
    assert interval(metric(), columns, [*range(262), 0]) != expected
    assert interval(metric(), columns * 0.9, range(263)) != expected


@pytest.mark.parametrize("right", [0.0, 1.0])
def test_all_right_or_all_wrong_is_as_sure_as_there_are_images(right):
    expected = wilson_interval(int(right * 20), 20)
    assert interval(metric(), np.full((60, 1), right), [place % 20 for place in range(60)]) == expected


@pytest.mark.parametrize("worth", [[0.6], [1.0, 0.0], [0.3, 0.9, 0.6]])
def test_one_image_says_little_however_many_questions_are_about_it(worth):
    low, high = interval(metric(), np.asarray(worth)[:, None], [7] * len(worth))
    assert low < 0.15 and high > 0.9
    assert interval(metric(), np.asarray(worth)[:, None] * 5, [7] * len(worth)) is None


@pytest.mark.parametrize(("of", "columns"), CASES[2:], ids=["f1", "auroc"])
def test_what_is_no_mean_has_no_interval_by_one_image(of, columns):
    assert interval(of, columns, [7] * len(columns)) is None


def test_answers_that_are_all_worth_the_same_are_as_sure_as_there_are_images():
    columns, images = np.full((60, 1), 0.6), [place % 20 for place in range(60)]
    assert interval(metric(), columns, images) == pytest.approx(wilson_interval(12, 20), abs=1e-12)
    assert interval(metric(), columns * 5, images) == pytest.approx((3.0, 3.0))


# Newcombe (1998), "Two-sided confidence intervals for the single proportion", Table I, method 3.
@pytest.mark.parametrize(
    ("correct", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_gives_the_published_intervals(correct, n, low, high):
    assert wilson_interval(correct, n) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 100_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_share_and_mirrors(case):
    correct, n = case
    low, high = wilson_interval(correct, n)
    assert 0.0 <= low <= correct / n <= high <= 1.0
    assert wilson_interval(n - correct, n) == pytest.approx((1 - high, 1 - low), abs=1e-9)


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_at_its_ends_the_share_is_1_96_deviations_away(case):
    """The definition: where a proportion's own deviation just reaches the observed share."""
    correct, n = case
    for end in wilson_interval(correct, n):
        deviation = 1.959963984540054 * math.sqrt(end * (1 - end) / n)
        assert abs(correct / n - end) == pytest.approx(deviation, abs=1e-9)


@pytest.mark.parametrize(("correct", "n"), [(0, 0), (-1, 5), (6, 5)])
def test_wilson_refuses_what_is_no_proportion(correct, n):
    with pytest.raises(ValueError, match="not a proportion"):
        wilson_interval(correct, n)


def test_kinds_come_in_the_order_of_the_questions():
    found = by_kind(["b", "a", "", "b"])
    assert {kind: places.tolist() for kind, places in found.items()} == {"b": [0, 3], "a": [1]}
    assert list(found) == ["b", "a"]

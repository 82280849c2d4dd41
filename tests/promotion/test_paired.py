"""The paired bootstrap: beside a slow twin, beside the normal approximation, and at its edges."""

import math

import numpy as np
import pytest

from tinygptv.promotion import paired
from tinygptv.promotion.paired import paired_difference


def slow_interval(first, second, images, resamples, seed):
    """The same in loops, question by question."""
    names = sorted(set(images))
    gains = {
        name: sum(int(a) - int(b) for a, b, i in zip(first, second, images, strict=True) if i == name) for name in names
    }
    counts = {name: images.count(name) for name in names}
    draws = np.random.default_rng(seed)
    shares = []
    for _ in range(resamples):
        drawn = [names[place] for place in draws.integers(0, len(names), size=len(names))]
        shares.append(sum(gains[name] for name in drawn) / sum(counts[name] for name in drawn))
    return np.quantile(shares, 0.025), np.quantile(shares, 0.975)


def answers(count, share, seed):
    return [bool(value) for value in np.random.default_rng(seed).random(count) < share]


@pytest.mark.parametrize("at_once", [1, 7, 100, 10**6])
def test_exactly_the_slow_twin_in_parts_of_any_size(at_once, monkeypatch):
    monkeypatch.setattr(paired, "DRAWS_AT_ONCE", at_once)
    first, second = answers(60, 0.9, 1), answers(60, 0.8, 2)
    images = [f"image-{place % 13}" for place in range(60)]
    found = paired_difference(first, second, images, 200, 5)
    assert (found.low, found.high) == slow_interval(first, second, images, 200, 5)
    assert found.value == (sum(first) - sum(second)) / 60


def test_near_the_normal_approximation_where_each_question_has_its_image():
    first, second = answers(2000, 0.9, 3), answers(2000, 0.87, 4)
    found = paired_difference(first, second, [str(place) for place in range(2000)], 10_000, 1)
    gains = np.asarray(first, float) - np.asarray(second, float)
    half = 1.959964 * gains.std() / math.sqrt(2000)
    assert found.low == pytest.approx(gains.mean() - half, abs=0.001)
    assert found.high == pytest.approx(gains.mean() + half, abs=0.001)


def test_questions_of_one_image_are_not_independent():
    """Ten questions to each image, right or wrong together: the interval is that of the images."""
    first = [value for value in answers(100, 0.8, 5) for _ in range(10)]
    second = [value for value in answers(100, 0.8, 6) for _ in range(10)]
    by_image = paired_difference(first, second, [str(place // 10) for place in range(1000)], 4000, 1)
    alone = paired_difference(first, second, [str(place) for place in range(1000)], 4000, 1)
    assert (by_image.high - by_image.low) / (alone.high - alone.low) == pytest.approx(math.sqrt(10), rel=0.1)


def test_equal_models_and_opposite_ones():
    images = [str(place) for place in range(50)]
    same = paired_difference([True] * 50, [True] * 50, images, 1000, 0)
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)
    opposite = paired_difference([True] * 50, [False] * 50, images, 1000, 0)
    assert (opposite.value, opposite.low, opposite.high) == (1.0, 1.0, 1.0)


def test_the_seed_decides():
    first, second = answers(300, 0.9, 1), answers(300, 0.8, 2)
    images = [str(place) for place in range(300)]
    assert paired_difference(first, second, images, 1000, 1) == paired_difference(first, second, images, 1000, 1)
    assert paired_difference(first, second, images, 1000, 1) != paired_difference(first, second, images, 1000, 2)


@pytest.mark.parametrize(("first", "second", "images"), [([], [], []), ([True], [], ["a"]), ([True], [True], [])])
def test_what_cannot_be_paired(first, second, images):
    with pytest.raises(ValueError, match="cannot pair"):
        paired_difference(first, second, images, 1000, 0)

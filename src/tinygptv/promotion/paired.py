"""Two models on the same questions: their difference with a 95 % interval, by a paired bootstrap over images.

Several questions share an image, and a model that reads an image wrongly misses several at once. So whole images are
drawn, with all their questions; drawing single questions would make the interval too narrow.

Shapes: Q questions, G images, R resamples, S resamples of a part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

TAIL = 0.025
DRAWS_AT_ONCE = 4_000_000
"""Bounds the memory, not the result."""


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """Share of right answers of the first model minus that of the second."""

    value: float
    low: float
    high: float
    """Ends of the 95 % percentile interval."""


def paired_difference(
    first: Sequence[bool], second: Sequence[bool], images: Sequence[str], resamples: int, seed: int
) -> PairedDifference:
    """Compare two models that answered the same questions.

    Args:
        first: right or wrong, for each question.
        second: the same of the other model, in the same order.
        images: the image of each question.
        resamples: how often the images are drawn anew.
        seed: equal seeds give equal intervals.

    Raises:
        ValueError: the lists are empty or differ in length.
    """
    if not first or not len(first) == len(second) == len(images):
        raise ValueError(f"cannot pair {len(first)} answers, {len(second)} answers and {len(images)} images")
    gain_Q = np.asarray(first, dtype=np.int64) - np.asarray(second, dtype=np.int64)
    _, image_Q = np.unique(np.asarray(images), return_inverse=True)
    count_G = np.bincount(image_Q)
    gain_G = np.bincount(image_Q, weights=gain_Q).astype(np.int64)  # sums of whole numbers: exact
    shares_R = resampled(gain_G, count_G, resamples, seed)
    low, high = np.quantile(shares_R, (TAIL, 1 - TAIL))
    return PairedDifference(float(gain_Q.sum() / len(gain_Q)), float(low), float(high))


def resampled(gain_G: NDArray[np.int64], count_G: NDArray[np.int64], resamples: int, seed: int) -> NDArray[np.float64]:
    """The difference in each resample [R] of the images.

    Args:
        gain_G: questions that the first model alone got right minus those that the second alone got right, by image.
        count_G: questions of each image.
        resamples: R.
        seed: of the draws.
    """
    draws, images = np.random.default_rng(seed), len(gain_G)
    part = max(1, DRAWS_AT_ONCE // images)
    shares = []
    for start in range(0, resamples, part):
        drawn_SG = draws.integers(0, images, size=(min(part, resamples - start), images))
        shares.append(gain_G[drawn_SG].sum(axis=1) / count_G[drawn_SG].sum(axis=1))
    return np.concatenate(shares)

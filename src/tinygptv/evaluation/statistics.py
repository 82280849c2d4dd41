"""The number of a metric with its 95 % interval, and the difference of two models with its own.

Several questions share an image, and a model that reads an image wrongly misses several at once. So a bootstrap draws
whole images, with all their questions; drawing single questions would make the interval too narrow.

Shapes: Q questions, C numbers that a metric keeps of each, G images, R resamples, S resamples of a part.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygptv.evaluation.benchmarks.seam import Metric, Numbers, mean

TAIL = 0.025
Z95 = NormalDist().inv_cdf(1 - TAIL)
DRAWS_AT_ONCE = 4_000_000
"""Bounds the memory, not the result."""
Images = Sequence[int] | NDArray[np.integer[Any]]
"""Numbers; equal ones are the same image."""
MOST_UNDEFINED = 0.05
"""Share of resamples without a number, such as those with one class alone, from which on there is no interval."""


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """Number of the first model minus that of the second."""

    value: float
    low: float
    high: float
    """Ends of the 95 % percentile interval."""


def number(metric: Metric, columns_QC: Numbers, weights_Q: Numbers | None = None) -> float | None:
    """A metric of all questions; None where it is undefined.

    Args:
        metric: the metric.
        columns_QC: what it keeps of each question; rows of NaN do not count.
        weights_Q: how often each question counts; once where there are none.
    """
    counts_Q = counted(columns_QC)
    weights_Q = np.ones(len(columns_QC)) if weights_Q is None else weights_Q
    if not weights_Q[counts_Q].any():
        return None
    found = metric.value(columns_QC[counts_Q], weights_Q[counts_Q])
    return None if math.isnan(found) else float(found)


def counted(columns_QC: Numbers) -> NDArray[np.bool_]:
    """Which questions count [Q]."""
    missing_QC = np.isnan(columns_QC)
    missing_Q: NDArray[np.bool_] = np.any(missing_QC, axis=1)
    assert (missing_Q == missing_QC.all(axis=1)).all(), "a question counts, or it does not"
    return ~missing_Q


def by_kind(kinds: Sequence[str]) -> dict[str, NDArray[np.int64]]:
    """Kind → the places of its questions, in the order of the questions; those of no kind (empty) are left out."""
    places: dict[str, list[int]] = {}
    for place, kind in enumerate(kinds):
        places.setdefault(kind, []).append(place)
    return {kind: np.asarray(found) for kind, found in places.items() if kind}


def interval(
    metric: Metric, columns_QC: Numbers, images_Q: Images, resamples: int = 1000, seed: int = 0
) -> tuple[float, float] | None:
    """The 95 % interval of a metric; None where it, or more than a few resamples of it, are undefined.

    It is Wilson's where the metric is a share of questions and no two of them share an image, else the percentile
    interval of a bootstrap. Where all answers are worth the same, such as all right, or all are of one image, no
    resample differs: a mean of values in 0..1, which vary no more than such a share, then has Wilson's of the images;
    another metric of one image has none.

    Args:
        metric: the metric.
        columns_QC: what it keeps of each question; rows of NaN do not count.
        images_Q: the image of each question.
        resamples: how often the images are drawn anew.
        seed: equal seeds give equal intervals.

    Raises:
        ValueError: there are not as many images as questions.
    """
    if len(columns_QC) != len(images_Q):
        raise ValueError(f"cannot draw {len(columns_QC)} questions by {len(images_Q)} images")
    counts_Q = counted(columns_QC)
    columns_QC, image_Q = columns_QC[counts_Q], _numbered(images_Q, counts_Q)
    if number(metric, columns_QC) is None:
        return None
    value_Q, questions, images = columns_QC[:, 0], len(columns_QC), int(image_Q.max()) + 1
    if metric.value is mean and 0 <= (least := value_Q.min()) <= (most := value_Q.max()) <= 1:
        is_share = images == questions and bool(np.isin(value_Q, (0, 1)).all())
        if is_share or least == most or images == 1:
            return wilson_interval(min(float(value_Q.sum()) * images / questions, images), images)
    if images == 1:
        return None
    return _ends(_resampled(metric, [columns_QC], image_Q, resamples, seed)[:, 0])


def paired(
    metric: Metric,
    first_QC: Numbers,
    second_QC: Numbers,
    images_Q: Images,
    resamples: int,
    seed: int,
) -> PairedDifference:
    """Compare two models that answered the same questions, by the same draws of images for both.

    Args:
        metric: the metric.
        first_QC: what it keeps of each question for the first model.
        second_QC: the same of the other model, in the same order. A question counts where it counts for both.
        images_Q: the image of each question.
        resamples: how often the images are drawn anew.
        seed: equal seeds give equal intervals.

    Raises:
        ValueError: there is no question, their numbers differ, or the metric is undefined.
    """
    if not len(first_QC) or not len(first_QC) == len(second_QC) == len(images_Q):
        raise ValueError(f"cannot pair {len(first_QC)} answers, {len(second_QC)} answers and {len(images_Q)} images")
    counts_Q = counted(first_QC) & counted(second_QC)
    tables = [first_QC[counts_Q], second_QC[counts_Q]]
    if metric.value is mean:  # the mean of the differences, which no two divisions have rounded
        tables = [tables[0] - tables[1]]
    values = [number(metric, columns_QC) for columns_QC in tables]
    if None in values:
        raise ValueError(f"cannot pair: {metric.name} is undefined: {metric.undefined or 'no question counts'}")
    ends = _ends(_gain(_resampled(metric, tables, _numbered(images_Q, counts_Q), resamples, seed)))
    if ends is None:
        raise ValueError(f"cannot pair: {metric.name} is undefined in too many resamples: {metric.undefined}")
    return PairedDifference(float(_gain(np.asarray([values], dtype=np.float64))[0]), *ends)


def wilson_interval(correct: float, n: int) -> tuple[float, float]:
    """The 95 % score interval of a proportion (Wilson 1927), without continuity correction.

    Args:
        correct: successes, 0..n; a fraction where each trial is worth 0..1.
        n: trials, at least 1.

    Raises:
        ValueError: there are no trials, or ``correct`` is outside 0..n.
    """
    if n < 1 or not 0 <= correct <= n:
        raise ValueError(f"{correct} of {n} is not a proportion")
    share, z2 = correct / n, Z95 * Z95
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    # Rounding must not push an end over the exact bound, or past the share itself.
    low = 0.0 if correct == 0 else max(0.0, centre - half)
    high = 1.0 if correct == n else min(1.0, centre + half)
    return low, high


def _resampled(
    metric: Metric, tables: Sequence[Numbers], image_Q: NDArray[np.int64], resamples: int, seed: int
) -> Numbers:
    """The number of each table [Q, C] in each resample of the images, [R, tables]; NaN where it is undefined."""
    numbers_of = _of_sums if metric.additive else _of_weights
    draws, images = np.random.default_rng(seed), int(image_Q.max()) + 1
    part, found = max(1, DRAWS_AT_ONCE // images), []
    for start in range(0, resamples, part):
        drawn_SG = draws.integers(0, images, size=(min(part, resamples - start), images))
        found.append(np.stack([numbers_of(metric, columns_QC, image_Q, drawn_SG) for columns_QC in tables], axis=1))
    return np.concatenate(found)


def _of_sums(metric: Metric, columns_QC: Numbers, image_Q: NDArray[np.int64], drawn_SG: NDArray[np.int64]) -> Numbers:
    """The numbers [S] of an additive metric: its images are summed before they are drawn."""
    count_S = np.bincount(image_Q)[drawn_SG].sum(axis=1)
    sums_CS = [np.bincount(image_Q, weights=column_Q)[drawn_SG].sum(axis=1) for column_Q in columns_QC.T]
    # One row with all sums, and the other questions with none: the weighted sums, and the sum of the weights, exactly.
    return np.asarray(
        [
            metric.value(np.stack([sums_C, np.zeros_like(sums_C)]), np.asarray([1.0, count - 1.0]))
            for sums_C, count in zip(np.stack(sums_CS, axis=1), count_S, strict=True)
        ]
    )


def _of_weights(
    metric: Metric, columns_QC: Numbers, image_Q: NDArray[np.int64], drawn_SG: NDArray[np.int64]
) -> Numbers:
    """The numbers [S] of any metric: a question weighs as often as its image was drawn."""
    images = drawn_SG.shape[1]
    return np.asarray(
        [
            metric.value(columns_QC, np.bincount(drawn_G, minlength=images)[image_Q].astype(np.float64))
            for drawn_G in drawn_SG
        ]
    )


def _gain(values_RM: Numbers) -> Numbers:
    """The first model's numbers minus the second's [R]; one column already is the difference."""
    gain_R: Numbers = values_RM[:, 0] - values_RM[:, 1] if values_RM.shape[1] == 2 else values_RM[:, 0]
    return gain_R


def _ends(found_R: Numbers) -> tuple[float, float] | None:
    """Ends of the percentile interval of what is defined; None where too much is not."""
    defined = found_R[~np.isnan(found_R)]
    if len(defined) < (1 - MOST_UNDEFINED) * len(found_R):
        return None
    low, high = np.quantile(defined, (TAIL, 1 - TAIL))
    return float(low), float(high)


def _numbered(images_Q: Images, counts_Q: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Number of the image of each question that counts, from 0 in their order."""
    numbers_Q: NDArray[np.int64] = np.unique(np.asarray(images_Q)[counts_Q], return_inverse=True)[1]
    return numbers_Q

"""How well scores put the positive questions before the others: areas under two curves.

Source: the area under the receiver operating characteristic is the Mann-Whitney statistic (Hanley and McNeil 1982), in
which equal scores count half; average precision is without interpolation, as in scikit-learn.

Shapes: Q questions, C = 3 numbers of each (``ranked``), S different scores, from the lowest on, K = 2 classes, the
positive one first.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tinygptv.evaluation.benchmarks.seam import Numbers


def ranked(*, positive: bool, score: float | None) -> tuple[float, float, float]:
    """What both areas keep of a question: whether it is positive, its score, and whether it has one."""
    return float(positive), 0.0 if score is None else score, float(score is not None)


def auroc(columns_QC: Numbers, weights_Q: Numbers) -> float:
    """The probability that a positive question has a higher score than another one; equal scores count half.

    A question without a score is ranked on the wrong end. NaN where one class is missing, or every score.
    """
    positive_S, other_S = _by_score(columns_QC, weights_Q)
    pairs = positive_S.sum() * other_S.sum()
    if not pairs:
        return float("nan")
    below_S = other_S.cumsum() - other_S
    return float((positive_S * (below_S + other_S / 2)).sum() / pairs)


def average_precision(columns_QC: Numbers, weights_Q: Numbers) -> float:
    """Precision at each score, weighted by the share of positive questions that have it.

    A question without a score is ranked on the wrong end. NaN where no question is positive, or there are no scores.
    """
    positive_S, other_S = (found_S[::-1] for found_S in _by_score(columns_QC, weights_Q))
    if not positive_S.sum():
        return float("nan")
    hits_S = positive_S.cumsum()
    precision_S = hits_S / np.maximum(hits_S + other_S.cumsum(), 1)  # a score that was not drawn has no hit either
    # The exact sum: a score that nothing was drawn of changes nothing, not even how others are rounded.
    return math.fsum((positive_S * precision_S).tolist()) / float(positive_S.sum())


def _by_score(columns_QC: Numbers, weights_Q: Numbers) -> tuple[Numbers, Numbers]:
    """How many positive and how many other questions have each score [S]; none at all where no question has one."""
    positive_Q, score_Q, told_Q = columns_QC.T
    if not (told_Q * weights_Q).any():
        return np.zeros(1), np.zeros(1)
    score_Q = np.where(told_Q > 0, score_Q, np.where(positive_Q > 0, -np.inf, np.inf))
    scores, place_Q = np.unique(score_Q, return_inverse=True)
    drawn_SK = np.zeros((len(scores), 2))
    np.add.at(drawn_SK, (place_Q, 1 - positive_Q.astype(np.int64)), weights_Q)
    return drawn_SK[:, 0], drawn_SK[:, 1]

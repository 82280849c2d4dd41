"""Areas under curves: equal to SciPy's and their definitions to the last digit, to scikit-learn's but for rounding."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from scipy.stats import mannwhitneyu
from sklearn.metrics import average_precision_score, roc_auc_score

from tinygptv.evaluation.metrics.ranking import auroc, average_precision, ranked


def columns_of(labels, scores):
    return np.asarray([ranked(positive=bool(label), score=score) for label, score in zip(labels, scores, strict=True)])


def slow_auroc(labels, scores, weights):
    """Every pair of a positive and another question, one by one."""
    won = pairs = Fraction(0)
    rows = list(zip(labels, scores, weights, strict=True))
    for first in (row for row in rows if row[0]):
        for second in (row for row in rows if not row[0]):
            weight = first[2] * second[2]
            pairs += weight
            won += weight * (Fraction(first[1] > second[1]) + Fraction(first[1] == second[1]) / 2)
    return float(won / pairs)


def slow_average_precision(labels, scores, weights):
    """At each score from the highest on: precision of all that have it or more, times the recall it adds."""
    rows, total = list(zip(labels, scores, weights, strict=True)), Fraction(0)
    positives = sum(weight for label, _, weight in rows if label)
    for threshold in set(scores):
        above = [row for row in rows if row[1] >= threshold]
        added = sum(weight for label, score, weight in above if label and score == threshold)
        if added:
            hits = sum(weight for label, _, weight in above if label)
            total += Fraction(added, positives) * Fraction(hits, sum(row[2] for row in above))
    return float(total)


@pytest.fixture(params=[3, 20, 10**6], ids=lambda levels: f"{levels} levels")
def drawn(request):
    """A thousand questions, whose scores are equal often, at times, or hardly ever."""
    draws = np.random.default_rng(request.param)
    labels = draws.integers(0, 2, 1000)
    return labels.tolist(), (draws.integers(0, request.param, 1000) / request.param).tolist()


@pytest.mark.parametrize("weighted", [False, True])
def test_a_thousand_predictions(drawn, weighted):
    labels, scores = drawn
    weights = np.random.default_rng(1).integers(0, 4, 1000) if weighted else np.ones(1000, dtype=int)
    columns = columns_of(labels, scores)
    found = auroc(columns, weights.astype(float))
    assert found == slow_auroc(labels, scores, weights.tolist())
    assert found == pytest.approx(roc_auc_score(labels, scores, sample_weight=weights), abs=1e-14)
    found = average_precision(columns, weights.astype(float))
    assert found == pytest.approx(slow_average_precision(labels, scores, weights.tolist()), abs=1e-15)
    assert found == pytest.approx(average_precision_score(labels, scores, sample_weight=weights), abs=1e-14)


def test_the_area_is_the_statistic_of_mann_and_whitney(drawn):
    labels, scores = (np.asarray(column) for column in drawn)
    first, second = scores[labels == 1], scores[labels == 0]
    theirs = mannwhitneyu(first, second).statistic / (len(first) * len(second))
    assert auroc(columns_of(labels, scores), np.ones(1000)) == theirs


def test_weights_are_repetitions(drawn):
    labels, scores = drawn
    weights = np.random.default_rng(2).integers(0, 4, 1000)
    again = columns_of(np.repeat(labels, weights), np.repeat(scores, weights))
    for area in (auroc, average_precision):
        assert area(columns_of(labels, scores), weights.astype(float)) == area(again, np.ones(len(again)))


@pytest.mark.parametrize(
    ("labels", "scores", "area"),
    [
        ([1, 0], [0.9, 0.1], 1.0),
        ([1, 0], [0.1, 0.9], 0.0),
        ([1, 0, 0], [0.5, 0.5, 0.5], 0.5),
        ([1, 1, 0, 0], [0.8, 0.4, 0.4, 0.2], 0.875),
    ],
)
def test_small_areas(labels, scores, area):
    assert auroc(columns_of(labels, scores), np.ones(len(labels))) == area


def test_one_class_or_no_score_has_no_area():
    one_class, no_scores = columns_of([1, 1], [0.2, 0.3]), columns_of([1, 0], [None, None])
    assert math.isnan(auroc(one_class, np.ones(2)))
    assert math.isnan(average_precision(columns_of([0, 0], [0.2, 0.3]), np.ones(2)))
    for area in (auroc, average_precision):
        assert math.isnan(area(no_scores, np.ones(2)))
        assert math.isnan(area(columns_of([1, 0, 1], [0.2, 0.3, 0.4]), np.asarray([0.0, 0.0, 0.0])))


def test_a_question_without_a_score_is_ranked_on_the_wrong_end():
    assert auroc(columns_of([1, 0, 1], [0.9, 0.1, None]), np.ones(3)) == 0.5
    assert auroc(columns_of([1, 0, 0], [0.9, 0.1, None]), np.ones(3)) == 0.5
    assert average_precision(columns_of([1, 0, 0], [0.9, 0.1, None]), np.ones(3)) == 0.5

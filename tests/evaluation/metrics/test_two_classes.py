"""Measures of answers that are one of two: equal to scikit-learn's, and what has no number has none."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import f1_score, precision_score, recall_score

from tinygptv.evaluation.metrics.two_classes import f1, outcome, precision, recall, two_way, yes_ratio


def columns_of(labels, answers):
    return np.asarray([outcome(positive=label, said=said) for label, said in zip(labels, answers, strict=True)])


def measures(labels, answers, weights=None):
    columns = columns_of(labels, answers)
    weights = np.ones(len(columns)) if weights is None else weights
    return tuple(measure(columns, weights) for measure in (precision, recall, f1, yes_ratio))


@pytest.mark.parametrize("share", [0.05, 0.5, 0.97])
def test_a_thousand_answers(share):
    draws = np.random.default_rng(0)
    labels, answers = draws.random(1000) < 0.5, draws.random(1000) < share
    weights = draws.integers(0, 4, 1000).astype(float)
    found = measures(labels.tolist(), answers.tolist(), weights)
    for value, theirs in zip(found, (precision_score, recall_score, f1_score), strict=False):
        assert value == pytest.approx(theirs(labels, answers, sample_weight=weights), abs=1e-15)
    assert found[3] == weights[answers].sum() / weights.sum()


@pytest.mark.parametrize(
    ("labels", "answers", "expected"),
    [
        ([True, False], [True, True], (0.5, 1.0, 2 / 3, 1.0)),
        ([True, False], [False, False], (math.nan, 0.0, 0.0, 0.0)),
        ([False, False], [True, False], (0.0, math.nan, 0.0, 0.5)),
        ([False], [False], (math.nan, math.nan, math.nan, 0.0)),
        ([True, False, True, False], [None, None, True, False], (1.0, 0.5, 2 / 3, 0.25)),
    ],
)
def test_small_sets(labels, answers, expected):
    assert measures(labels, answers) == pytest.approx(expected, nan_ok=True, abs=0)


def test_they_depend_on_the_sums_of_the_columns():
    columns = columns_of([True, False, True, False], [True, True, None, None])
    sums = columns.sum(axis=0, keepdims=True)
    for measure in (precision, recall, f1, yes_ratio):
        assert measure(columns, np.ones(4)) == measure(sums, np.ones(1))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("yes", True),
        (" Yes. ", True),
        ("NO", False),
        ("no .", False),
        ("yes, it is", None),
        ("yes or no", None),
        ("yesterday", None),
        ("", None),
        ("🙂" * 3, None),
        ("no " * 3333, None),
    ],
)
def test_an_answer_is_one_of_two_words_or_neither(text, said):
    assert two_way(text, ("yes", "no")) is said

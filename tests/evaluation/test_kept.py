"""What metrics keep: in blocks of any size, once for metrics that share it, at once where one must see the whole."""

from dataclasses import replace

import numpy as np
import pytest

from tinygptv.evaluation.benchmarks.seam import Metric, Prediction, mean
from tinygptv.evaluation.kept import KeptColumns

TRUTHS = [{"answer": text, "kind": kind} for text, kind in zip("abcde", ["x", "y", "", "x", "y"], strict=True)]
PREDICTIONS = [Prediction(answer=text) for text in "aXcXe"]


@pytest.fixture
def seen():
    return []


@pytest.fixture
def accuracy(seen):
    def columns(truths, predictions):
        seen.append(len(truths))
        return np.asarray([[float(t["answer"] == p.answer)] for t, p in zip(truths, predictions, strict=True)])

    return Metric(name="accuracy", variant="v", columns=columns, value=mean)


def in_blocks(kept, size):
    for start in range(0, len(TRUTHS), size):
        kept.add(TRUTHS[start : start + size], PREDICTIONS[start : start + size])
    return kept


@pytest.mark.parametrize("size", [1, 2, 5])
def test_metrics_that_share_a_function_count_once(accuracy, seen, size):
    by_kind = replace(accuracy, name="per_kind", by=lambda truth: truth["kind"])
    kept = in_blocks(KeptColumns([accuracy, by_kind]), size)
    assert sum(seen) == 5 and max(seen) <= size
    assert kept.columns(accuracy)[:, 0].tolist() == [1, 0, 1, 0, 1]
    assert kept.told(accuracy, lambda columns, places: (columns.sum(), places.tolist())) == (3, [0, 1, 2, 3, 4])
    told = kept.told(by_kind, lambda columns, places: (columns.sum(), places.tolist()))
    assert told == {"x": (1, [0, 3]), "y": (1, [1, 4])}


def test_what_must_see_the_whole_sees_it_whenever_it_is_asked(accuracy, seen):
    whole = replace(accuracy, whole=True)
    kept = in_blocks(KeptColumns([whole]), 2)
    assert seen == []
    assert kept.columns(whole)[:, 0].tolist() == [1, 0, 1, 0, 1] and kept.columns(whole) is kept.columns(whole)
    kept.add(TRUTHS[:1], PREDICTIONS[:1])
    assert kept.columns(whole)[:, 0].tolist() == [1, 0, 1, 0, 1, 1]
    assert seen == [5, 6]


def test_before_any_answer_there_is_none(accuracy):
    assert KeptColumns([accuracy]).columns(accuracy).shape == (0, 1)
    assert KeptColumns([replace(accuracy, whole=True)]).columns(replace(accuracy, whole=True)).shape == (0, 1)

"""POPE: the rule of its script for free text, and measures of what was said."""

from __future__ import annotations

import random

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score

from tests.evaluation.benchmarks.scored import again, official, response, texts
from tinygptv.evaluation.benchmarks.pope import BENCHMARK, says_yes
from tinygptv.evaluation.benchmarks.seam import Prediction


def entries(answers):
    return [{"question_id": place, "answer": answer} for place, answer in enumerate(answers)]


@pytest.mark.parametrize(
    ("answer", "yes"),
    [
        ("yes", True),
        ("No", False),
        ("no, there is not", False),
        ("No, there is.", False),
        ("Yes. No dog is there", True),
        ("there is not a dog", False),
        ("there isn't a dog", True),
        ("NO", True),
        ("no!", True),
        ("nothing", True),
        ("a dog,no", True),
        ("a dog, no", False),
        ("3.5 no", True),
        (". no", True),
        ("no\n", True),
        ("", True),
        ("🙂 no", False),
        ("word " * 2000 + "no", False),
    ],
)
def test_what_is_taken_for_a_yes(answer, yes):
    assert says_yes(answer) is yes


def slowly(answer):
    """The published rule, sign by sign."""
    words = [""]
    for sign in answer:
        if sign == ".":
            break
        if sign == " ":
            words.append("")
        elif sign != ",":
            words[-1] += sign
    return not any(word in ("No", "not", "no") for word in words)


def test_a_thousand_predictions():
    draws, told = random.Random(0), texts(1000)
    labels = [draws.choice(["yes", "no"]) for _ in told]
    truths = [{"answer": label} for label in labels]
    found = official(BENCHMARK, truths, entries(told))
    true, said = np.asarray(labels) == "yes", np.asarray([slowly(text) for text in told])
    hits = int((true & said).sum())
    precision, recall = hits / int(said.sum()), hits / int(true.sum())
    assert found == {
        "accuracy": int((true == said).sum()) / 1000,
        "precision": precision,
        "recall": recall,
        "f1": 2 * precision * recall / (precision + recall),
        "yes_ratio": int(said.sum()) / 1000,
    }
    theirs = [measure(true, said) for measure in (accuracy_score, precision_score, recall_score, f1_score)]
    assert list(found.values())[:4] == pytest.approx(theirs, abs=1e-15)
    assert 0.1 < found["yes_ratio"] < 0.9


def test_the_yes_ratio_is_of_the_predictions():
    found = official(BENCHMARK, [{"answer": "yes"}] * 4, entries(["yes", "no", "no", "no"]))
    assert (found["yes_ratio"], found["recall"]) == (0.25, 0.25)


def test_what_has_no_number():
    found = official(BENCHMARK, [{"answer": "no"}] * 2, entries(["no", "no"]))
    assert found == {"accuracy": 1.0, "precision": None, "recall": None, "f1": None, "yes_ratio": 0.0}
    assert all(metric.undefined for metric in BENCHMARK.official if found[metric.name] is None)


def test_a_missing_prediction_is_wrong_and_no_yes():
    truths, missing = [{"answer": "yes"}, {"answer": "no"}], [Prediction(), Prediction()]
    accuracy, _, recall, _, yes_ratio = BENCHMARK.official
    assert accuracy.columns(truths, missing).tolist() == [[0.0], [0.0]]
    assert [metric.value(metric.columns(truths, missing), np.ones(2)) for metric in (recall, yes_ratio)] == [0.0, 0.0]


def test_responses_and_their_file_have_the_same_numbers():
    truths = [{"answer": "yes"}, {"answer": "no"}, {"answer": "no"}]
    of_model, of_file = again(BENCHMARK, truths, [response(" yes "), response("no\n"), response("")])
    assert of_model == of_file
    assert of_model["accuracy"] == 2 / 3


@pytest.mark.parametrize(
    ("broken", "error"),
    [({"question_id": 1}, KeyError), ({"answer": "yes"}, KeyError), ({"question_id": 1, "answer": None}, TypeError)],
)
def test_broken_entries(broken, error):
    with pytest.raises(error):
        BENCHMARK.read_prediction(broken)

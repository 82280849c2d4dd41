"""IconQA: sub-tasks by what its own script counts, and the authors' substrings."""

from __future__ import annotations

import random

import pytest

from tests.evaluation.benchmarks.scored import authors, official, response
from tinygptv.evaluation.benchmarks.iconqa import BENCHMARK

TEXT = {"answer": "line", "choices": ["tape", "line"], "right": [1]}
BLANK = {"answer": "7"}
NUMBERS = {"answer": "3", "choices": ["13", "3"], "right": [1]}


def entry(prediction):
    return {"pid": "5", "prediction": prediction}


@pytest.mark.parametrize(
    ("truth", "prediction", "right", "lax"),
    [
        (TEXT, 1, 1.0, 1.0),
        (TEXT, 0, 0.0, 0.0),
        (TEXT, "line", 1.0, 1.0),
        (TEXT, "a line", 0.0, 1.0),
        (TEXT, "", 0.0, 1.0),
        (NUMBERS, 0, 0.0, 1.0),
        (NUMBERS, "3", 1.0, 1.0),
        (NUMBERS, "1", 0.0, 0.0),
        (BLANK, "7", 1.0, 1.0),
        (BLANK, 7, 1.0, 1.0),
        (BLANK, "7.", 0.0, 1.0),
        (BLANK, "07", 0.0, 1.0),
        (BLANK, "seven", 0.0, 0.0),
        ({**TEXT, "choices": ["line", "line"]}, 0, 0.0, 1.0),
    ],
)
def test_goldens(truth, prediction, right, lax):
    assert official(BENCHMARK, [truth], [entry(prediction)])["accuracy"] == right
    assert authors(BENCHMARK, [truth], [entry(prediction)]) == {"accuracy": lax}


def test_a_thousand_predictions():
    draws = random.Random(0)
    labels, told = ([draws.randrange(4) for _ in range(1000)] for _ in range(2))
    choices = ["7", "17", "cat", "cats"]
    truths = [{"answer": choices[label], "choices": choices, "right": [label]} for label in labels]
    equal = sum(str(label) == str(said) for label, said in zip(labels, told, strict=True))
    near = {(0, 1), (1, 0), (2, 3), (3, 2)}
    lax = equal + sum(pair in near for pair in zip(labels, told, strict=True))
    entries = [entry(said) for said in told]
    assert official(BENCHMARK, truths, entries) == {"accuracy": equal / 1000, "accuracy_generated": None}
    assert authors(BENCHMARK, truths, entries) == {"accuracy": lax / 1000}


def test_a_model_is_asked_by_likelihood_and_by_generation():
    told = (response("tape", -3.0, -1.0), response("line", -1.0, -3.0))
    predictions = [BENCHMARK.predict(TEXT, one) for one in told]
    assert [(item.choice, item.answer) for item in predictions] == [(1, "tape"), (0, "line")]
    written = [BENCHMARK.write_prediction("5", item, TEXT) for item in predictions]
    assert written[0] == {"pid": "5", "prediction": 1, "answer": "tape"}
    assert official(BENCHMARK, [TEXT, TEXT], written) == {"accuracy": 0.5, "accuracy_generated": 0.5}


def test_the_words_of_a_question():
    assert BENCHMARK.instruction("as_trained", "vqa", "Which?", TEXT) == "[vqa] Which?"
    asked = BENCHMARK.instruction("authors_released", "vqa", "Which?", TEXT)
    assert asked == "[vqa] Based on the image, respond to this question with a short answer: Which? "

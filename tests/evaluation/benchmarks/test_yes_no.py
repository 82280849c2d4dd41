"""Yes or no for data of one's own."""

from __future__ import annotations

import math
import random

import pytest

from tests.evaluation.benchmarks.scored import again, official, response, texts
from tinygptv.evaluation.benchmarks.yes_no import BENCHMARK

YES, NO, NEITHER = ({"answer": answer, "answers": {answer: 1.0}} for answer in ("yes", "No.", "a cat"))


def entry(prediction, **more):
    return {"id": 1, "prediction": prediction, **more}


def test_every_measure():
    entries = [entry("yes", score=0.9), entry("Yes.", score=0.8), entry("maybe", score=0.85), entry("no", score=0.1)]
    assert official(BENCHMARK, [YES, NO, YES, NO], entries) == {
        "accuracy": 0.5,
        "precision": 0.5,
        "recall": 0.5,
        "f1": 0.5,
        "yes_ratio": 0.5,
        "auroc": 1.0,
    }


def test_without_scores_there_is_no_area():
    assert official(BENCHMARK, [YES, NO], [entry("yes"), entry("no")])["auroc"] is None


def test_a_question_that_is_none_of_yes_and_no_does_not_count():
    found = official(BENCHMARK, [YES, NEITHER, NO], [entry("yes", score=1.0), entry("a cat"), entry("no", score=0.0)])
    assert found == {"accuracy": 1.0, "precision": 1.0, "recall": 1.0, "f1": 1.0, "yes_ratio": 0.5, "auroc": 1.0}


def test_a_model_is_asked_for_both():
    found = BENCHMARK.predict(YES, response(" No.\n", math.log(0.3), math.log(0.1)))
    assert (found.answer, found.choice) == ("No.", 0)
    assert found.score == pytest.approx(0.75)
    assert BENCHMARK.predict(YES, response("perhaps")).score == 0.5


def test_responses_and_their_file_have_the_same_numbers():
    draws = random.Random(6)
    truths = [draws.choice([YES, NO]) for _ in range(300)]
    told = [response(text, draws.gauss(-2, 1), draws.gauss(-2, 1)) for text in texts(300)]
    of_model, of_file = again(BENCHMARK, truths, told)
    assert of_model == of_file


@pytest.mark.parametrize(
    ("broken", "error"),
    [
        ({"id": 1}, KeyError),
        (entry(True), TypeError),
        (entry("yes", score=None), TypeError),
        (entry("yes", score=math.nan), ValueError),
    ],
)
def test_broken_entries(broken, error):
    with pytest.raises(error):
        BENCHMARK.read_prediction(broken)

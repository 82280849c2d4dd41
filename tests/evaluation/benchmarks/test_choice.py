"""The right one of several answers: by likelihood, by number, by text."""

from __future__ import annotations

import pytest

from tests.evaluation.benchmarks.scored import again, official, response
from tinygptv.evaluation.benchmarks.choice import BENCHMARK

PETS = {"answer": "dog", "answers": {"dog": 1.0}, "choices": ["cat", "dog", "bird"], "right": [1]}
OPEN = {"answer": "dog", "answers": {"dog": 2.0, "puppy": 1.0}}


def numbers(truth, prediction, **more):
    found = official(BENCHMARK, [truth], [{"id": 1, "prediction": prediction, **more}])
    return found["accuracy"], found["accuracy_generated"]


@pytest.mark.parametrize(
    ("truth", "prediction", "expected"),
    [
        (PETS, 1, (1.0, None)),
        (PETS, 0, (0.0, None)),
        (PETS, 3, (0.0, None)),
        (PETS, "dog", (1.0, 1.0)),
        (PETS, "Dog", (0.0, 0.0)),
        (PETS, "1", (0.0, 0.0)),
        (PETS, "", (0.0, None)),
        (OPEN, "puppy", (1.0, 1.0)),
        (OPEN, "cat", (0.0, 0.0)),
        ({**PETS, "answers": {"dog": 2.0, "cat": 1.0}, "right": [1, 0]}, 0, (1.0, None)),
    ],
)
def test_a_number_or_a_text(truth, prediction, expected):
    assert numbers(truth, prediction) == expected


def test_a_text_beside_a_number():
    assert numbers(PETS, 1, answer="cat") == (1.0, 0.0)


def test_the_lowest_mean_loss_and_the_text():
    told = response(" dog ", -1.0, -1.0, -0.9)
    assert BENCHMARK.predict(PETS, told).choice == 2
    longer = response("cat", -6.0, -6.0, -6.0)
    choices = [replaced(item, tokens) for item, tokens in zip(longer.choices, (2, 4, 3), strict=True)]
    found = BENCHMARK.predict(PETS, type(longer)(text="cat", tokens=1, cut=False, logprob=-1, choices=tuple(choices)))
    assert (found.choice, found.answer) == (1, "cat")
    assert BENCHMARK.predict(PETS, response("", -1.0, -1.0, -1.0)).choice == 0
    assert BENCHMARK.predict(OPEN, response(" dog ")).choice is None


def replaced(item, tokens):
    return type(item)(logprob=item.logprob, tokens=tokens)


def test_what_is_asked_beside_the_question():
    assert BENCHMARK.choices(PETS) == ("cat", "dog", "bird")
    assert BENCHMARK.choices(OPEN) == ()
    assert (BENCHMARK.chance(PETS), BENCHMARK.chance(OPEN)) == (1 / 3, 0.0)
    assert BENCHMARK.type_of("", {**PETS, "type": "pets"}) == "choice-pets"


def test_responses_and_their_file_have_the_same_numbers():
    truths = [PETS, OPEN, PETS, PETS]
    told = [response("dog", -1.0, -0.5, -2.0), response("dog"), response("", -0.1, -2.0, -3.0), response("dog")]
    of_model, of_file = again(BENCHMARK, truths, told)
    assert of_model == of_file == {"accuracy": 0.75, "accuracy_generated": 0.75}


@pytest.mark.parametrize(
    ("broken", "error"),
    [
        ({"prediction": 1}, KeyError),
        ({"id": 1}, KeyError),
        ({"id": 1, "prediction": -1}, ValueError),
        ({"id": 1, "prediction": 1.0}, TypeError),
        ({"id": 1, "prediction": True}, TypeError),
        ({"id": 1, "prediction": None}, TypeError),
        ({"id": 1, "prediction": 1, "answer": 2}, TypeError),
    ],
)
def test_broken_entries(broken, error):
    with pytest.raises(error):
        BENCHMARK.read_prediction(broken)

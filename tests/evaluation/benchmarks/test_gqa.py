"""GQA: equality is official; what the authors count beside it is told apart."""

from __future__ import annotations

import random

import pytest

from tests.evaluation.benchmarks.scored import again, authors, official, response, texts
from tinygptv.evaluation.benchmarks.gqa import BENCHMARK


def truth(answer, structural="query"):
    return {"answer": answer, "structural": structural}


def entry(prediction, question="1"):
    return {"questionId": question, "prediction": prediction}


def right(answer, prediction):
    """Official and authors' number of one question."""
    return tuple(of(BENCHMARK, [truth(answer)], [entry(prediction)])["accuracy"] for of in (official, authors))


@pytest.mark.parametrize(
    ("answer", "prediction", "numbers"),
    [
        ("woman", "woman", (1.0, 1.0)),
        ("woman", "man", (0.0, 0.0)),
        ("man", "woman", (0.0, 1.0)),
        ("no", "i don't know", (0.0, 1.0)),
        ("no", "not really", (0.0, 1.0)),
        ("yes", "Yes", (0.0, 1.0)),
        ("yes", "yes.", (0.0, 1.0)),
        ("yes", " yes", (0.0, 1.0)),
        ("yes", "", (0.0, 0.0)),
        ("yes", "yes " * 2500, (0.0, 1.0)),
        ("yes", "🙂", (0.0, 0.0)),
    ],
)
def test_goldens(answer, prediction, numbers):
    assert right(answer, prediction) == numbers


def test_a_thousand_predictions():
    draws, predictions = random.Random(1), texts(1000)
    answers = [draws.choice([*predictions, "no", "man"]) if draws.random() < 0.5 else told for told in predictions]
    answers = [answer.lower() or "yes" for answer in answers]  # GQA has no capitals
    truths, entries = [truth(answer) for answer in answers], [entry(told) for told in predictions]
    pairs = list(zip(answers, predictions, strict=True))
    equal, lax = sum(a == p for a, p in pairs), sum(a in p.lower() for a, p in pairs)
    assert official(BENCHMARK, truths, entries)["accuracy"] == equal / 1000
    assert authors(BENCHMARK, truths, entries) == {"accuracy": lax / 1000}
    assert 0 < equal < lax < 1000


def test_open_and_binary_questions():
    kinds = ["query", "verify", "logical", "compare", "choose", ""]
    truths = [truth("yes", kind) for kind in kinds]
    found = official(BENCHMARK, truths, [entry(told) for told in ("yes", "yes", "no", "no", "yes", "no")])
    assert found == {"accuracy": 0.5, "per_answer_type": {"open": 1.0, "binary": 0.5}}
    assert [BENCHMARK.type_of("", item) for item in truths[:2]] == ["gqa-query", "gqa-verify"]
    assert BENCHMARK.type_of("", truths[-1]) == ""
    assert {BENCHMARK.type_of("", item) for item in truths[:-1]} == set(BENCHMARK.types)


def test_responses_and_their_file_have_the_same_numbers():
    truths = [truth("yes"), truth("no"), truth("red")]
    of_model, of_file = again(BENCHMARK, truths, [response(" yes\n"), response("none"), response("blue")])
    assert of_model == of_file
    assert BENCHMARK.predict(truths[0], response(" yes\n")).answer == "yes"


@pytest.mark.parametrize("number", [201307251, "201307251"])
def test_an_id_is_a_number_or_a_text(number):
    assert BENCHMARK.read_prediction(entry("yes", number))[0] == "201307251"


@pytest.mark.parametrize(
    ("broken", "error"),
    [
        ({"prediction": "yes"}, KeyError),
        ({"questionId": "1"}, KeyError),
        (entry(None), TypeError),
        (entry(1), TypeError),
        (entry("yes", None), TypeError),
        (entry("yes", True), TypeError),
    ],
)
def test_broken_entries(broken, error):
    with pytest.raises(error):
        BENCHMARK.read_prediction(broken)


def test_the_words_of_a_question():
    assert BENCHMARK.instruction("as_trained", "vqa", "Who?", truth("woman")) == "[vqa] Who?"
    asked = BENCHMARK.instruction("authors_released", "vqa", "Who?", truth("woman"))
    assert asked == "[vqa] Based on the image, respond to this question with a short answer: Who?"

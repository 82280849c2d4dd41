"""VSR: two classes by likelihood or by the whole answer, ranks by score, and both of the authors' counts."""

from __future__ import annotations

import math
import random

import pytest
from sklearn.metrics import roc_auc_score

from tests.evaluation.benchmarks.scored import again, authors, official, response, texts
from tinygptv.evaluation.benchmarks.seam import Prediction
from tinygptv.evaluation.benchmarks.vsr import BENCHMARK, RELATIONS


def truth(label, relation="behind"):
    return {"answer": "true" if label else "false", "caption": "The car is behind the suitcase.", "relation": relation}


def entry(prediction):
    return {"id": 0, "prediction": prediction}


@pytest.mark.parametrize(
    ("label", "prediction", "numbers"),
    [
        (1, "true", (1.0, 1.0, 1.0)),
        (1, " True. ", (1.0, 1.0, 1.0)),
        (0, "FALSE", (1.0, 1.0, 1.0)),
        (1, 1, (1.0, 1.0, 1.0)),
        (0, False, (1.0, 1.0, 1.0)),
        (0, 1, (0.0, 0.0, 0.0)),
        (1, "true or false", (0.0, 1.0, 1.0)),
        (0, "true or false", (0.0, 1.0, 1.0)),
        (1, "untrue", (0.0, 1.0, 1.0)),
        (1, "yes, true", (0.0, 1.0, 2.0)),
        (0, "no", (0.0, 0.0, 1.0)),
        (0, "i do not know", (0.0, 0.0, 1.0)),
        (1, "", (0.0, 0.0, 0.0)),
        (1, "🙂" * 3333, (0.0, 0.0, 0.0)),
    ],
)
def test_goldens(label, prediction, numbers):
    strict = official(BENCHMARK, [truth(label)], [entry(prediction)])
    lax = authors(BENCHMARK, [truth(label)], [entry(prediction)])
    assert (strict["accuracy"], lax["accuracy"], lax["accuracy_with_yes_no"]) == numbers
    assert strict["auroc"] is None


def test_always_true():
    labels = [1] * 629 + [0] * 593
    found = official(BENCHMARK, [truth(label) for label in labels], [{"id": 0, "score": 1.0}] * 1222)
    assert found == {"accuracy": 629 / 1222, "auroc": 0.5}


def test_a_thousand_scores():
    draws = random.Random(0)
    labels, scores = [draws.randrange(2) for _ in range(1000)], [draws.randrange(50) / 49 for _ in range(1000)]
    found = official(BENCHMARK, [truth(label) for label in labels], [{"id": 0, "score": score} for score in scores])
    assert found["auroc"] == pytest.approx(roc_auc_score(labels, scores), abs=1e-14)
    assert found["accuracy"] == sum((s >= 0.5) == label for s, label in zip(scores, labels, strict=True)) / 1000


def test_a_thousand_texts():
    draws, told = random.Random(3), texts(1000)
    labels = [draws.randrange(2) for _ in told]
    strict = lax = twice = 0
    for label, text in zip(labels, told, strict=True):
        word, other = ("true", "yes") if label else ("false", "no")
        strict += text.strip().lower() in (word, f"{word}.", f"{word} .")
        lax += word in text.lower()
        twice += (word in text.lower()) + (other in text.lower())
    truths, entries = [truth(label) for label in labels], [entry(text) for text in told]
    assert official(BENCHMARK, truths, entries)["accuracy"] == strict / 1000
    assert authors(BENCHMARK, truths, entries) == {"accuracy": lax / 1000, "accuracy_with_yes_no": twice / 1000}
    assert 0 < strict < lax < twice


def test_one_class_has_no_area():
    found = official(BENCHMARK, [truth(1), truth(1)], [{"id": 0, "score": 0.1}, {"id": 1, "score": 0.9}])
    assert found == {"accuracy": 0.5, "auroc": None}


def test_the_likelier_of_true_and_false():
    found = BENCHMARK.predict(truth(1), response("false", math.log(0.3), math.log(0.1)))
    assert (found.choice, found.answer) == (1, "false")
    assert found.score == pytest.approx(0.75)
    assert BENCHMARK.predict(truth(1), response("", -2000.0, -1.0)).score == 0.0
    assert BENCHMARK.predict(truth(1), response("", -1.0, -2000.0)).score == 1.0
    guess = BENCHMARK.predict(truth(1), response("true"))
    assert (guess.choice, guess.score) == (1, 1.0)
    assert BENCHMARK.choices(truth(1)) == ("true", "false")


def test_responses_and_their_file_have_the_same_numbers():
    draws = random.Random(4)
    truths = [truth(draws.randrange(2)) for _ in range(200)]
    of_model, of_file = again(
        BENCHMARK, truths, [response(text, draws.gauss(-2, 1), draws.gauss(-2, 1)) for text in texts(200)]
    )
    assert of_model == of_file


def test_a_missing_prediction_is_wrong():
    (accuracy, area), missing = BENCHMARK.official, Prediction()
    assert accuracy.columns([truth(1), truth(0)], [missing, missing]).tolist() == [[0.0], [0.0]]
    scored = [Prediction(score=0.9, choice=1), Prediction(score=0.1, choice=0), missing]
    columns = area.columns([truth(1), truth(0), truth(1)], scored)
    assert area.value(columns, columns[:, 0] * 0 + 1) == 0.5


@pytest.mark.parametrize(("said", "choice"), [("1", 1), ("0", 0), (True, 1), ("True", 1), ("false.", 0), ("2", None)])
def test_a_class_may_be_a_number_or_a_word(said, choice):
    assert BENCHMARK.read_prediction({"id": 0, "prediction": said})[1].choice == choice


@pytest.mark.parametrize(
    ("broken", "error"),
    [
        ({"id": 0}, KeyError),
        ({"prediction": "true"}, KeyError),
        (entry(2), TypeError),
        (entry(None), TypeError),
        ({"id": 0, "score": math.nan}, ValueError),
        ({"id": 0, "score": 1.5}, ValueError),
        ({"id": 0, "score": "0.5"}, TypeError),
        ({"id": 0, "prediction": "true", "score": math.inf}, ValueError),
    ],
)
def test_broken_entries(broken, error):
    with pytest.raises(error):
        BENCHMARK.read_prediction(broken)


def test_kinds_of_relations():
    assert BENCHMARK.type_of("", truth(1)) == "vsr-projective"
    assert BENCHMARK.type_of("", truth(1, "among")) == "vsr-unallocated"
    assert BENCHMARK.type_of("", truth(1, "congruent")) == "vsr-other"
    listed = [relation for relations in RELATIONS.values() for relation in relations.split(", ")]
    assert len(listed) == len(set(listed))


def test_the_words_of_a_question():
    content = "Is this statement true or false? The car is behind the suitcase."
    assert BENCHMARK.instruction("as_trained", "vqa", content, truth(1)) == f"[vqa] {content}"
    asked = BENCHMARK.instruction("authors_released", "vqa", content, truth(1))
    assert asked == "[vqa] Based on the image, is this statement true or false? The car is behind the suitcase."

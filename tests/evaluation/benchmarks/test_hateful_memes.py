"""Hateful Memes: ranks by probability first, labels second, and the authors' words."""

from __future__ import annotations

import math
import random

import pytest
from sklearn.metrics import accuracy_score, roc_auc_score

from tests.evaluation.benchmarks.scored import again, authors, official, response, texts
from tinygptv.evaluation.benchmarks.hateful_memes import BENCHMARK


def truth(label):
    return {"answer": "yes" if label else "no", "text": "look"}


def entry(proba, **more):
    return {"id": 8291, "proba": proba, **more}


def test_a_thousand_predictions():
    draws = random.Random(0)
    labels, said = ([draws.randrange(2) for _ in range(1000)] for _ in range(2))
    scores = [draws.randrange(200) / 199 for _ in range(1000)]
    entries = [entry(score, label=label) for score, label in zip(scores, said, strict=True)]
    found = official(BENCHMARK, [truth(label) for label in labels], entries)
    assert list(found) == ["auroc", "accuracy"]
    assert found["auroc"] == pytest.approx(roc_auc_score(labels, scores), abs=1e-14)
    assert found["accuracy"] == accuracy_score(labels, said)


def test_without_a_label_the_probability_decides():
    entries = [entry(0.5), entry(0.49)]
    assert official(BENCHMARK, [truth(1), truth(0)], entries) == {"auroc": 1.0, "accuracy": 1.0}


def test_without_a_probability_nothing_is_ranked():
    entries = [{"id": 1, "label": 1}, {"id": 2, "label": 1}]
    assert official(BENCHMARK, [truth(1), truth(0)], entries) == {"auroc": None, "accuracy": 0.5}
    assert "no prediction has a `proba`" in BENCHMARK.official[0].undefined


def test_one_class_has_no_area():
    assert official(BENCHMARK, [truth(0)] * 2, [entry(0.2), entry(0.9)]) == {"auroc": None, "accuracy": 0.5}


@pytest.mark.parametrize(
    ("answer", "label", "right"),
    [
        ("yes", 1, 1.0),
        ("Yes. ### Human: no", 1, 1.0),
        ("yes and no", 0, 0.0),
        ("cannot say", 0, 1.0),
        ("### Assistant: yes", 1, 0.0),
        ("Human: no? Assistant: yes", 1, 1.0),
        ("hateful", 1, 0.0),
        ("", 0, 0.0),
    ],
)
def test_the_authors_words(answer, label, right):
    assert authors(BENCHMARK, [truth(label)], [entry(0.5, answer=answer)]) == {"accuracy": right}


def test_a_thousand_texts_as_the_authors_count():
    draws, told = random.Random(5), texts(1000)
    labels, count = [draws.randrange(2) for _ in told], 0
    for label, text in zip(labels, told, strict=True):
        kept = text.split("###")[0]
        kept = kept[kept.rfind("Assistant:") + len("Assistant:") :] if "Assistant:" in kept else kept
        if "yes" in kept.lower():
            count += label == 1
        elif "no" in kept.lower():
            count += label == 0
    entries = [entry(0.5, answer=text) for text in told]
    assert authors(BENCHMARK, [truth(label) for label in labels], entries) == {"accuracy": count / 1000}
    assert 0 < count < 1000


def test_responses_and_their_file_have_the_same_numbers():
    draws = random.Random(4)
    truths = [truth(draws.randrange(2)) for _ in range(200)]
    of_model, of_file = again(
        BENCHMARK, truths, [response(text, draws.gauss(-2, 1), draws.gauss(-2, 1)) for text in texts(200)]
    )
    assert of_model == of_file


@pytest.mark.parametrize(
    ("broken", "error"),
    [
        ({"id": 1}, KeyError),
        ({"id": 1, "label": 2}, ValueError),
        ({"proba": 0.5}, KeyError),
        (entry(math.nan), ValueError),
        (entry(-0.1), ValueError),
        (entry(True), TypeError),
        (entry(None), TypeError),
        (entry(0.5, label=2), ValueError),
        (entry(0.5, label="1"), TypeError),
    ],
)
def test_broken_entries(broken, error):
    with pytest.raises(error):
        BENCHMARK.read_prediction(broken)


def test_the_words_of_a_question():
    content = "This image says 'look'. Is it hateful?"
    assert BENCHMARK.instruction("as_trained", "vqa", content, truth(1)) == f"[vqa] {content}"
    asked = BENCHMARK.instruction("authors_released", "vqa", content, truth(1))
    assert asked == "This is an image writting 'look'. Is this image hateful? Answer yes or no. Answer:"

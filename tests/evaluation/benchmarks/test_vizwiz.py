"""VizWiz: answers, answerability, and the authors' lax count beside them."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from tests.data.formats.vqa_files import write
from tinygptv.evaluation.benchmarks.seam import Prediction
from tinygptv.evaluation.benchmarks.table import benchmark_of
from tinygptv.evaluation.score_files import score_files
from tinygptv.ground.errors import DataError

BENCHMARK = benchmark_of("vizwiz")
NONE = ["unanswerable"] * 8 + ["soup"] * 2


@pytest.fixture
def scored(tmp_path):
    """Score (answers of the people, answerable, prediction) one after the other."""

    def score(*questions, **options):
        entries, said = [], []
        for number, (people, answerable, prediction) in enumerate(questions):
            image = f"VizWiz_val_{number:08d}.jpg"
            answers = [{"answer": text, "answer_confidence": "yes"} for text in people]
            entries.append({"image": image, "question": "what?", "answers": answers, "answerable": answerable})
            if prediction is not None:
                said.append({"image": image, **prediction})
        files = [write(tmp_path / "val.json", entries)], write(tmp_path / "p.json", said)
        return score_files("vizwiz", *files, **options)

    return score


def test_answers_count_by_variant_e(scored):
    found = scored(
        (["don't"] * 10, 1, {"answer": "dont"}),
        (["the cat"] * 10, 1, {"answer": "the cat"}),
        (NONE, 0, {"answer": "Unanswerable."}),
        (NONE, 0, {"answer": "soup"}),
    )
    assert found.variant.startswith("VQA accuracy E:")
    assert found.official == {"accuracy": pytest.approx(1.6 / 4), "unanswerable_ap": pytest.approx(0.5 + 0.5 * 0.5)}
    assert (found.n, found.expected_n) == (4, 4_319)


def test_equal_answers_with_equal_confidence_are_of_different_people(scored):
    assert scored((["soup"] * 10, 1, {"answer": "soup"})).official == {"accuracy": 1.0, "unanswerable_ap": None}
    assert any("no question is unanswerable" in note for note in scored((NONE, 1, {"answer": "x"})).notes)


def test_the_authors_count_is_lax_both_ways(scored):
    assert scored((["soup"] * 10, 1, {"answer": ""})).authors == {"accuracy": 1.0}
    assert scored((["soup"] * 10, 1, {"answer": "Soup can ###Human: no"})).authors == {"accuracy": 1.0}
    assert scored((["tomato soup"] * 2 + ["x"] * 8, 1, {"answer": "soup"})).authors == {
        "accuracy": pytest.approx(2 / 3)
    }
    assert scored((["soup"] * 10, 1, {"answer": "no Assistant: cat"})).authors == {"accuracy": 0.0}
    assert scored((["a_b"] * 2, 1, {"answer": "a"})).authors == {"accuracy": pytest.approx(2 / 3)}, (
        "two parts, two people"
    )


def test_answerability_ranks_as_in_scikit_learn(scored):
    draws = random.Random(5)
    labels = [draws.randint(0, 1) for _ in range(1000)]
    scores = [draws.choice((0.0, 0.25, 0.5, 1.0, draws.random())) for _ in labels]
    rows = [(NONE, label, {"answerability": score}) for label, score in zip(labels, scores, strict=True)]
    found = scored(*rows)
    expected = average_precision_score(1 - np.asarray(labels), 1 - np.asarray(scores))
    assert found.official == {"accuracy": None, "unanswerable_ap": pytest.approx(expected, abs=1e-12)}
    words = [(NONE, label, {"answer": "unanswerable" if score < 0.5 else "soup"}) for _, label, score in
             zip(rows, labels, scores, strict=True)]  # fmt: skip
    expected = average_precision_score(1 - np.asarray(labels), [float(score < 0.5) for score in scores])
    assert scored(*words).official["unanswerable_ap"] == pytest.approx(expected, abs=1e-12)


def test_what_is_left_out_is_wrong(scored):
    both, alone = {"answer": "soup", "answerability": 0.9}, {"answerability": 0.9}
    people = ["soup"] * 10
    found = scored((people, 1, both), (people, 1, alone))
    assert found.official["accuracy"] == 0.5
    assert "accuracy: 1 of 2 predictions leave it out, and count as wrong" in found.notes
    assert not any("leave it out" in note for note in scored((people, 1, alone), (NONE, 0, alone)).notes)
    found = scored((people, 1, both), (people, 1, None), (NONE, 0, None), allow_missing=True)
    assert found.official == {"accuracy": pytest.approx(1 / 3), "unanswerable_ap": pytest.approx(1 / 3)}


@pytest.mark.parametrize(
    ("prediction", "words"),
    [
        ({}, "has no `answer`"),
        ({"answerability": 2}, "`answerability` must be between 0 and 1"),
        ({"answerability": float("nan")}, "is nan"),
        ({"answerability": "yes"}, "must be a number"),
    ],
)
def test_broken_predictions_are_one_line(scored, prediction, words):
    with pytest.raises(DataError, match=words):
        scored((NONE, 0, prediction))


@dataclass
class Said:
    text: str


def test_a_model_is_asked_in_the_released_words_and_written_as_the_server_wants():
    asked = BENCHMARK.instruction("authors_released", "vqa", "what's {this}?", {})
    assert asked == (
        "[vqa] The question is 'what's {this}?' Based on the image, answer the question with a single word or phrase. "
        "and reply 'unanswerable' when the provided information is insufficient"
    )
    assert BENCHMARK.instruction("as_trained", "vqa", "what?", {}) == "[vqa] what?"
    prediction = BENCHMARK.predict({}, Said("Unanswerable."))
    assert prediction == Prediction(answer="Unanswerable.", score=1.0)
    written = BENCHMARK.write_prediction("VizWiz_val_1.jpg", prediction, {})
    assert written == {"image": "VizWiz_val_1.jpg", "answer": "Unanswerable."}
    assert BENCHMARK.read_prediction(written) == ("VizWiz_val_1.jpg", prediction)

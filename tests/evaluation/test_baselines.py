"""Answers that need no image: which ones are chosen, on which data, and which of equals."""

from collections import Counter

import pytest

from tests.evaluation.asked import ASKS, question
from tinygptv.evaluation import baselines
from tinygptv.evaluation.baselines import best_constant_box, choose

NOTHING: list = []
TRAINING = [
    question("vqa", "q", "b"),
    question("vqa", "q", "a"),
    question("vqa", "p", "c"),
    question("vqa", "p", "c"),
    question("refer", "x", "{<0><0><100><100>}"),
    question("caption", "", "a shape"),
]
ASKED = [question("vqa", "q", "a"), question("vqa", "never", "x"), *TRAINING[2:]]


def test_ties_go_to_the_first_and_unseen_questions_to_the_majority():
    _, found = choose(ASKS, NOTHING, ASKED, TRAINING, NOTHING)
    assert {name: chosen.constant for name, chosen in found.items()} == {
        "easy_vqa": "c",
        "easy_vqa_refer": "{<0><0><100><100>}",
        "easy_vqa_caption": "a shape",
    }
    assert [found["easy_vqa"].question_only(text) for text in ("q", "p", "never")] == ["b", "c", "c"]
    assert {chosen.chosen_on for chosen in found.values()} == {"training"}


def test_only_questions_that_are_asked_are_remembered():
    _, found = choose(ASKS, NOTHING, ASKED[:2], TRAINING, NOTHING)
    assert len(found["easy_vqa"].by_question) == 1


def test_the_held_out_slice_is_not_copied_from_but_the_test_set_has_its_images_too():
    held_out = [question("vqa", "q", "no"), question("vqa", "q", "no"), question("vqa", "q", "no")]
    of_slice, of_test = choose(ASKS, held_out, ASKED, TRAINING, held_out)
    assert [chosen["easy_vqa"].question_only("q") for chosen in (of_slice, of_test)] == ["b", "no"]


def test_without_training_data_they_are_chosen_on_what_is_asked():
    training = [question("vqa", "q", "b")]
    _, found = choose(ASKS, NOTHING, ASKED, training, NOTHING)
    assert {name: chosen.chosen_on for name, chosen in found.items()} == {
        "easy_vqa": "training",
        "easy_vqa_refer": "split",
        "easy_vqa_caption": "split",
    }
    assert choose(ASKS, NOTHING, NOTHING, NOTHING, NOTHING) == ({}, {})


def test_what_is_no_box_is_a_constant_as_text():
    _, found = choose(ASKS, NOTHING, [question("refer", "x", "somewhere")], NOTHING, NOTHING)
    assert found["easy_vqa_refer"].constant == "somewhere"


def test_different_answers_are_counted_up_to_a_number(monkeypatch):
    monkeypatch.setattr(baselines, "DIFFERENT", 2)
    training = [question("vqa", "q", answer) for answer in ("a", "b", "c", "c", "c", "b")]
    _, found = choose(ASKS, NOTHING, training, training, NOTHING)
    assert (found["easy_vqa"].constant, found["easy_vqa"].question_only("q")) == ("b", "b")


@pytest.mark.parametrize(
    ("boxes", "best"),
    [
        # The medians give (20, 20, 30, 30), which is right twice; the square of 20 in the centre is right three times.
        ({(40, 40, 60, 60): 3, (0, 0, 10, 10): 2, (20, 20, 30, 30): 2}, (40, 40, 60, 60)),
        ({(0, 0, 90, 100): 2}, (0, 0, 100, 100)),
        ({(10, 20, 30, 40): 1}, (10, 20, 30, 40)),
    ],
)
def test_the_constant_box_is_the_best_candidate(boxes, best):
    assert best_constant_box(Counter(boxes)) == best

"""What several people said: votes, the image that is meant, and the split of a file."""

from __future__ import annotations

import pytest

from tinygptv.data.annotations import found
from tinygptv.data.people import answers_of, asked, image_of


def test_the_most_frequent_answer_is_shown_the_first_of_equals():
    item = asked("what?", name="1", images=("1.png",), said=["dog", " ", "cat", "cat", "dog", "\u200b"], kind="x")
    assert (item.answer, item.accepted) == ("dog", (("dog", 2.0), ("cat", 2.0)))
    assert item.truth == {"answer": "dog", "answers": ["dog", " ", "cat", "cat", "dog", "\u200b"], "kind": "x"}


def test_answers_that_nobody_can_see_leave_none():
    item = asked("what?", name="1", images=(), said=["", " "])
    assert (item.answer, item.accepted, item.truth["answers"]) == ("", (), ["", " "])


def test_a_question_without_an_image_cannot_be_asked():
    assert list(found(None, [asked("what?", name="1", images=(), said=["cat"])])) == [
        {"id": "1", "reason": "names no image"}
    ]


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ({"image_id": "a.png"}, ("a.png",)),
        ({"image_id": 7}, ("COCO_val2014_000000000007.jpg", "val2014/COCO_val2014_000000000007.jpg")),
        ({"image_id": ""}, ()),
        ({"image_id": True}, ()),
        ({}, ()),
    ],
)
def test_the_image_is_a_number_of_cocos_or_a_name(content, names):
    assert image_of(content, "val2014")[:2] == names


@pytest.mark.parametrize("listed", [["a", "b"], [{"answer": "a"}, {"answer": "b", "answer_id": 2}]])
def test_answers_are_texts_or_objects_with_one(listed):
    assert answers_of({"answers": listed}, "answers", "x") == ["a", "b"]

"""Phrases and boxes in the place of the marks that stand for them."""

from __future__ import annotations

import pytest

from tinygptv.data.placed_objects import placed
from tinygptv.data.record_rules import RecordError
from tinygptv.data.records import Turn


def said(question, answer, objects):
    """The turn with its objects, in a picture of 8x16 pixels."""
    (turn,) = placed([Turn(question, answer)], objects, lambda: (8, 16))
    return turn.question, turn.answer


def test_pixels_and_shares():
    for box in ([2, 0, 4, 16], [2.0, 0, 4, 16]):
        assert said("Find <ref-object>!", "<bbox>", {"ref": ["a cat"], "bbox": [box]}) == (
            "Find <p>a cat</p>!",
            "{<25><0><50><100>}",
        )
    shares = {"bbox": [[0.29, 0.57, 0.58, 1.001]], "bbox_type": "norm1"}
    assert said("", "<bbox>", shares)[1] == "{<29><57><58><100>}"


def test_a_phrase_beside_its_box_a_point_and_a_thin_box():
    objects = {"ref": ["a"], "bbox": [[0, 0, 8, 16], [4, 4], [0, 4, 8, 4]], "image_id": [0, 0, 0]}
    assert said("<ref-object><bbox>", "<bbox> <bbox>", objects) == (
        "<p>a</p> {<0><0><100><100>}",
        "{<50><25><51><26>} {<0><25><100><26>}",
    )


def test_a_phrase_that_is_a_mark_is_a_phrase():
    assert said("<ref-object>", "<bbox>", {"ref": ["<bbox>"], "bbox": [[0, 0, 8, 16]]})[0] == "<p><bbox></p>"


def test_without_objects_marks_are_text():
    for objects in (None, {}, []):
        assert said("<bbox>", "<ref-object>", objects) == ("<bbox>", "<ref-object>")


BOX = [0, 0, 8, 16]


@pytest.mark.parametrize(
    ("objects", "words"),
    [
        ({"bbox": [BOX, BOX]}, "its texts have <bbox> 1 times, and there are 2 boxes"),
        ({"ref": ["a"], "bbox": [BOX]}, "its texts have <ref-object> 0 times, and there are 1 phrases"),
        ({"bbox": [[0, 0, 9, 8]]}, "box 1 [0, 0, 9, 8] lies outside of its picture of 8x16 pixels"),
        ({"bbox": [[0, 0, 2, 1]], "bbox_type": "norm1"}, "lies outside of its picture of 0 to 1"),
        ({"bbox": [[4, 0, 2, 1]]}, "must be left, top, right, bottom"),
        ({"bbox": [[1, 2, 3]]}, "box 1 must be four numbers, two of a point, not '[1, 2, 3]'"),
        ({"bbox": [["1", 2, 3, 4]]}, "box 1 must be four numbers"),
        ({"bbox": [7]}, "box 1 must be four numbers"),
        ({"bbox": [[0, 0, 1, float("nan")]]}, "lies outside"),
        ({"bbox": [[0, 0, 1, 10**400]]}, "lies outside"),
        ({"bbox": {"a": 1}}, "must be a list of boxes, not an object"),
        ({"ref": ["a", " "], "bbox": [BOX]}, "`ref` of its objects must be a list of texts"),
        ({"bbox": [BOX], "bbox_type": "xywh"}, "`bbox_type` must be real or norm1, not 'xywh'"),
        ({"bbox": [BOX], "image_id": [1]}, "about another picture than the first"),
        ({"bbox": [BOX], "image_id": 1}, "about another picture than the first"),
        ("[]", "`objects` must be an object with `ref` and `bbox`, not text"),
    ],
)
def test_objects_that_are_none(objects, words):
    with pytest.raises(RecordError) as told:
        said("What?", "<bbox>", objects)
    assert words in told.value.reason

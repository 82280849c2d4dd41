"""Overlaps of boxes against hand-computed values."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygptv.evaluation.metrics.boxes import acc_at_iou, iou

coordinates = st.integers(0, 100)
boxes = st.tuples(coordinates, coordinates, coordinates, coordinates)
solid_boxes = boxes.map(lambda b: (*map(min, b[:2], b[2:]), *map(max, b[:2], b[2:]))).filter(
    lambda b: b[0] < b[2] and b[1] < b[3]
)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ((0, 0, 10, 10), (0, 0, 10, 10), 1.0),
        ((0, 0, 10, 10), (5, 0, 15, 10), 50 / 150),
        ((0, 0, 10, 10), (0, 0, 10, 5), 0.5),
        ((0, 0, 10, 10), (10, 0, 20, 10), 0.0),  # edges are exclusive: touching is not overlapping
        ((0, 0, 10, 10), (9, 9, 20, 20), 1 / 220),
        ((0, 0, 100, 100), (40, 40, 60, 60), 0.04),
        ((5, 5, 5, 5), (5, 5, 5, 5), 0.0),
        ((10, 10, 0, 0), (0, 0, 10, 10), 0.0),  # inverted
    ],
)
def test_iou_of_hand_computed_boxes(a, b, expected):
    assert iou(a, b) == pytest.approx(expected)


@given(boxes, boxes)
def test_iou_is_symmetric_and_bounded(a, b):
    assert iou(a, b) == iou(b, a)
    assert 0.0 <= iou(a, b) <= 1.0


@given(solid_boxes, solid_boxes)
def test_iou_is_one_for_equal_boxes_only(a, b):
    assert iou(a, a) == 1.0
    assert (iou(a, b) == 1.0) == (a == b)


def test_a_box_answer_must_be_the_whole_answer():
    truth = (10, 10, 30, 30)
    assert acc_at_iou("{<10><10><30><30>}", truth)
    assert acc_at_iou(" {<11><10><30><31>}\n", truth)
    for wrong in (
        "a {<10><10><30><30>}",
        "{<10><10><30><30>} red",
        "{<10><10><30><30>}{<10><10><30><30>}",
        "{<10><10><30>}",
        "<10><10><30><30>",
        "{10,10,30,30}",
        "",
        "{<60><60><90><90>}",
    ):
        assert not acc_at_iou(wrong, truth), wrong


def test_half_an_overlap_is_not_enough():
    assert not acc_at_iou("{<0><0><10><5>}", (0, 0, 10, 10))
    assert acc_at_iou("{<0><0><10><6>}", (0, 0, 10, 10))

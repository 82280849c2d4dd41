"""Boxes in texts and from pixels."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygptv.data.boxes import format_box, hundredths, parse_box


@pytest.mark.parametrize(
    ("edges", "size", "box"),
    [
        ((0, 0, 640, 480), (640, 480), (0, 0, 100, 100)),
        ((320, 120, 321, 121), (640, 480), (50, 25, 51, 26)),  # one pixel
        ((639, 479, 640, 480), (640, 480), (99, 99, 100, 100)),
        ((999, 10, 1000, 11), (100_000, 100_000), (0, 0, 1, 1)),
        ((99_999, 0, 99_999, 5), (100_000, 5), (99, 0, 100, 100)),
    ],
)
def test_a_box_in_hundredths(edges, size, box):
    assert hundredths(edges, size) == box


@given(st.tuples(*[st.integers(0, 100)] * 4))
def test_box_text_round_trip(box):
    assert parse_box(format_box(box)) == box


@pytest.mark.parametrize(
    "text", ["", "{<1><2><3>}", " {<1><2><3><4>}", "{<1><2><3><4>}\n", "{<-1><2><3><4>}", "{<1><2><3><٤>}"]
)
def test_what_is_no_box(text):
    assert parse_box(text) is None

"""Boxes of an answer, found and drawn where they are."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from tinygptv.web.boxes import boxes_in, draw_boxes


@pytest.mark.parametrize(
    ("text", "boxes"),
    [
        ("{<10><20><30><40>}", [(10, 20, 30, 40)]),
        ("a circle {<0><0><100><100>} and <p>a box</p> {<1><2><3><4>}.", [(0, 0, 100, 100), (1, 2, 3, 4)]),
        ("{<30><20><10><40>} {<1><2><3>} {<1><1><101><2>} <1><2><3><4>", []),
        ("yes", []),
    ],
)
def test_boxes_of_a_text(text, boxes):
    assert boxes_in(text) == boxes


def test_a_box_lies_where_it_should():
    drawn = np.asarray(draw_boxes(Image.new("RGB", (600, 500), "white"), [(10, 20, 50, 80)]))
    rows, columns = np.nonzero((drawn != 255).any(axis=2))
    assert (columns.min(), columns.max() + 1, rows.min(), rows.max() + 1) == (60, 300, 100, 400)
    assert (drawn[250, 180] == 255).all(), "the inside stays free"


@pytest.mark.parametrize(("size", "shown"), [((24, 24), (480, 480)), ((4000, 1000), (1280, 320)), ((600, 4), (600, 4))])
def test_small_pictures_are_enlarged_and_large_ones_made_smaller(size, shown):
    assert draw_boxes(Image.new("RGB", size), [(0, 0, 1, 1)]).size == shown

"""Boxes in an answer's text, drawn into the image."""

from __future__ import annotations

import re

from PIL import Image, ImageDraw

from tinygptv.data.records import Box, parse_box
from tinygptv.evaluation.drawing import BLUE, GREEN, ORANGE, PURPLE, VERMILLION

COLOURS = (VERMILLION, BLUE, GREEN, ORANGE, PURPLE)
SMALLEST_SIDE = 480
"""A picture of fewer pixels is enlarged, so that lines do not hide it."""
LARGEST_SIDE = 1280
_BOX = re.compile(r"\{(<\d{1,3}>){4}\}", re.ASCII)


def boxes_in(text: str) -> list[Box]:
    """The boxes that a text names, in their order; a model can write some that are none."""
    found = (parse_box(match.group()) for match in _BOX.finditer(text))
    return [box for box in found if box is not None and box[0] < box[2] <= 100 and box[1] < box[3] <= 100]


def draw_boxes(image: Image.Image, boxes: list[Box]) -> Image.Image:
    """A copy of an image, of a size to look at, with boxes in it."""
    factor = max(1, -(-SMALLEST_SIDE // max(image.size)))
    picture = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    picture.thumbnail((LARGEST_SIDE, LARGEST_SIDE))
    pen, line = ImageDraw.Draw(picture), max(2, max(picture.size) // 160)
    for number, (x1, y1, x2, y2) in enumerate(boxes):
        edges = (
            round(x1 * picture.width / 100),
            round(y1 * picture.height / 100),
            round(x2 * picture.width / 100) - 1,  # the last two are edges, of which the last pixel lies before
            round(y2 * picture.height / 100) - 1,
        )
        if edges[0] <= edges[2] and edges[1] <= edges[3]:
            pen.rectangle(edges, outline=COLOURS[number % len(COLOURS)], width=line)
    return picture

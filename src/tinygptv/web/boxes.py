"""Boxes in an answer's text, drawn into the image."""

from __future__ import annotations

from PIL import Image, ImageDraw

from tinygptv.data.boxes import Box, find_boxes
from tinygptv.evaluation.drawing import BLUE, GREEN, ORANGE, PURPLE, VERMILLION

LINE_COLOURS = (VERMILLION, BLUE, GREEN, ORANGE, PURPLE)
SMALLEST_SIDE = 480
"""A picture of fewer pixels is enlarged, so that lines do not hide it."""
LARGEST_SIDE = 1280


def boxes_in(text: str) -> list[Box]:
    """The boxes that a text names, in their order; a model can write some that are none."""
    return [box for box in find_boxes(text) if box[0] < box[2] <= 100 and box[1] < box[3] <= 100]


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
            pen.rectangle(edges, outline=LINE_COLOURS[number % len(LINE_COLOURS)], width=line)
    return picture

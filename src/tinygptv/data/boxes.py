"""Boxes: four hundredths of an image's width and height, and how texts and pixels name them."""

from __future__ import annotations

import math
import re
from typing import Any

PixelBox = tuple[float, float, float, float]
"""Left, top, width and height in pixels, as COCO's files have them."""
Box = tuple[int, int, int, int]
"""x1, y1, x2, y2 in hundredths of width and height, the origin at the top left; x2 and y2 are exclusive edges."""
_BOX = re.compile(r"\{<(\d{1,3})><(\d{1,3})><(\d{1,3})><(\d{1,3})>\}", re.ASCII)


def format_box(box: Box) -> str:
    """A box as text: ``{<x1><y1><x2><y2>}``."""
    x1, y1, x2, y2 = box
    return f"{{<{x1}><{y1}><{x2}><{y2}>}}"


def hundredths(edges: tuple[float, float, float, float], size: tuple[int, int]) -> Box:
    """A box in hundredths, cut off as the authors do; one that is thinner than that becomes a hundredth wide.

    Their order of operations decides where an edge lies on a hundredth: 29 of 100 pixels are 28 of them.

    Args:
        edges: x1, y1, x2, y2 in pixels; x2 and y2 are the edges after the last pixel.
        size: width and height of the image in pixels.
    """
    x1, y1, x2, y2 = (int(edge / size[place % 2] * 100) for place, edge in enumerate(edges))
    return widened((x1, y1, x2, y2))


def box_within(bbox: PixelBox, size: tuple[int, int]) -> Box | None:
    """What of a box lies in its image, in hundredths; None where nothing does.

    Args:
        bbox: left, top, width and height in pixels.
        size: width and height of the image in pixels.
    """
    left, top, wide, high = bbox
    seen = (max(0.0, left), max(0.0, top), min(float(size[0]), left + wide), min(float(size[1]), top + high))
    return hundredths(seen, size) if seen[0] < seen[2] and seen[1] < seen[3] else None


def in_pixels(box: Box, size: tuple[float, float]) -> PixelBox:
    """A box as an image of that width and height has it."""
    left, top, right, bottom = (edge * size[place % 2] / 100 for place, edge in enumerate(box))
    return left, top, right - left, bottom - top


def pixel_box(value: Any) -> PixelBox:
    """Check what a file says is left, top, width and height.

    Raises:
        ValueError: it is something else, not finite, or has a negative width or height.
    """
    if not isinstance(value, list) or len(value) != 4 or any(type(number) not in (int, float) for number in value):
        raise ValueError("bbox must be four numbers [left, top, width, height]")
    try:
        left, top, width, height = map(float, value)
    except OverflowError:
        left = top = width = height = math.inf
    if not all(map(math.isfinite, (left, top, width, height))):
        raise ValueError("bbox has a number that is not finite")
    if width < 0 or height < 0:
        raise ValueError("bbox has a negative width or height; write [left, top, width, height]")
    return left, top, width, height


def parse_box(text: str) -> Box | None:
    """The box that the whole text is, or None."""
    match = _BOX.fullmatch(text)
    return _numbers(match) if match else None


def find_boxes(text: str) -> list[Box]:
    """Every box that a text names, in its order; the numbers have up to three digits and need not be a place."""
    return [_numbers(match) for match in _BOX.finditer(text)]


def widened(box: tuple[Any, ...]) -> tuple[Any, ...]:
    """A box with no edge upon its opposite one: a hundredth wide and high, at least. Other values stay as they are."""
    if len(box) != 4 or any(type(number) is not int for number in box):
        return box
    (x1, x2), (y1, y2) = (_apart(first, last) for first, last in ((box[0], box[2]), (box[1], box[3])))
    return x1, y1, x2, y2


def _numbers(match: re.Match[str]) -> Box:
    x1, y1, x2, y2 = (int(number) for number in match.groups())
    return x1, y1, x2, y2


def _apart(first: int, last: int) -> tuple[int, int]:
    if first != last:
        return first, last
    return (first, last + 1) if last < 100 else (first - 1, last)

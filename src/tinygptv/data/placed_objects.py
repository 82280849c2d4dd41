"""The objects of ms-swift's records: phrases and boxes, for which marks stand in the texts.

``<ref-object>`` becomes ``<p>the dog</p>`` and ``<bbox>`` becomes ``{<x1><y1><x2><y2>}``, each the next of its list.
Source: ms-swift's docs, "Custom dataset".
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tinygptv.data.boxes import Box, format_box, widened
from tinygptv.data.conversations import kind
from tinygptv.data.record_rules import RecordError
from tinygptv.data.records import Turn
from tinygptv.data.tasks import is_blank

PHRASE, PLACE = "<ref-object>", "<bbox>"
_MARK = re.compile(rf"{PHRASE}([ \t]*)(?={PLACE})|{PHRASE}|{PLACE}")
KINDS = ("real", "norm1")
"""What numbers of a box are: pixels of the picture as it is seen, or shares of its width and height."""
_MOST_OUT = 0.01
"""Share of a side by which a box may lie outside, as a number that was rounded does."""

Size = Callable[[], tuple[int, int]]


def placed(turns: Sequence[Turn], objects: Any, size: Size) -> tuple[Turn, ...]:
    """The turns with the phrases and boxes in the place of their marks.

    Args:
        turns: as the record has them.
        objects: what the record has under this name; nothing: the turns stay, whatever they say.
        size: width and height of the picture as it is seen; asked where boxes are in pixels.

    Raises:
        RecordError: marks are not as many as phrases or boxes, or a box is none.
    """
    if objects in (None, {}, []):
        return tuple(turns)
    if not isinstance(objects, dict):
        raise RecordError(f"`objects` must be an object with `ref` and `bbox`, not {kind(objects)}", "")
    phrases, boxes = _phrases(objects), _boxes(objects, size)
    texts = [text for turn in turns for text in (turn.question, turn.answer)]
    for mark, given, several in ((PHRASE, phrases, "phrases in `ref`"), (PLACE, boxes, "boxes in `bbox`")):
        marks = sum(text.count(mark) for text in texts)
        if marks != len(given):
            raise RecordError(f"its texts have {mark} {marks} times, and there are {len(given)} {several}", "")
    left: dict[str, Iterator[str]] = {PHRASE: iter(phrases), PLACE: iter(map(format_box, boxes))}

    def put(match: re.Match[str]) -> str:
        if match[0] == PLACE:
            return next(left[PLACE])
        return f"<p>{next(left[PHRASE])}</p>{' ' if match[1] is not None else ''}"

    return tuple(Turn(_MARK.sub(put, turn.question), _MARK.sub(put, turn.answer)) for turn in turns)


def _phrases(objects: dict[str, Any]) -> list[str]:
    phrases = objects.get("ref") or []
    if not isinstance(phrases, list) or not all(isinstance(text, str) and not is_blank(text) for text in phrases):
        raise RecordError("`ref` of its objects must be a list of texts", "")
    return phrases


def _boxes(objects: dict[str, Any], size: Size) -> list[Box]:
    boxes, sort = objects.get("bbox") or [], objects.get("bbox_type") or KINDS[0]
    if not isinstance(boxes, list):
        raise RecordError(f"`bbox` of its objects must be a list of boxes, not {kind(boxes)}", "")
    if sort not in KINDS:
        raise RecordError(f"`bbox_type` must be {' or '.join(KINDS)}, not {str(sort)[:50]!r}", "")
    shown = objects.get("image_id") or []
    if not isinstance(shown, list) or any(place != 0 for place in shown):
        raise RecordError("a box is about another picture than the first, by its `image_id`", "")
    whole = size() if boxes and sort == "real" else (1, 1)
    return [_box(box, f"box {number}", whole) for number, box in enumerate(boxes, start=1)]


def _box(box: Any, told: str, size: tuple[int, int]) -> Box:
    """A box in hundredths; a point of two numbers is one of a hundredth."""
    numbers = box if isinstance(box, list) and all(type(number) in (int, float) for number in box) else []
    if len(numbers) not in (2, 4):
        raise RecordError(f"{told} must be four numbers, two of a point, not {str(box)[:50]!r}", "")
    numbers = numbers if len(numbers) == 4 else [*numbers, *numbers]
    try:
        shares = [float(number) / size[place % 2] for place, number in enumerate(numbers)]
    except OverflowError:
        shares = [math.inf]
    if not all(-_MOST_OUT <= share <= 1 + _MOST_OUT for share in shares):
        within = "0 to 1" if size == (1, 1) else f"{size[0]}x{size[1]} pixels"
        raise RecordError(f"{told} {str(box)[:80]} lies outside of its picture of {within}", "")
    if shares[0] > shares[2] or shares[1] > shares[3]:
        raise RecordError(f"{told} {str(box)[:80]} must be left, top, right, bottom", "")
    x1, y1, x2, y2 = (int(round(100 * min(max(share, 0.0), 1.0), 6)) for share in shares)
    return widened((x1, y1, x2, y2))

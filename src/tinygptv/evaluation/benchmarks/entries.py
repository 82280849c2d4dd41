"""Entries of a file of predictions, read strictly: an answer that is no text is told, not made one.

``evaluation/prediction_files.py`` hands on no null and no NaN; a cell of a CSV file is text.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def id_of(entry: Mapping[str, Any], key: str) -> str:
    """An id, which files write as a number or as text.

    Raises:
        KeyError: there is none.
        ValueError: it is neither.
    """
    found = entry[key]
    if isinstance(found, bool) or not isinstance(found, int | str):
        raise ValueError(f"`{key}` must be a whole number or text, not {found!r}")
    return str(found)


def text_of(entry: Mapping[str, Any], key: str) -> str:
    """An answer in words; it may be empty.

    Raises:
        KeyError: there is none.
        ValueError: it is no text.
    """
    found = entry[key]
    if not isinstance(found, str):
        raise ValueError(f"`{key}` must be text, not {found!r}")
    return found


def number_of(entry: Mapping[str, Any], key: str) -> float:
    """A number; of a CSV file it is text.

    Raises:
        KeyError: there is none.
        ValueError: it is none, or not finite.
    """
    found = entry[key]
    try:
        value = math.nan if isinstance(found, bool) else float(found)
    except (TypeError, ValueError, OverflowError):
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"`{key}` must be a number, not {found!r}")
    return value


def whole_number_of(entry: Mapping[str, Any], key: str) -> int:
    """A whole number, such as the number of a choice.

    Raises:
        KeyError: there is none.
        ValueError: it is none.
    """
    value = number_of(entry, key)
    if not value.is_integer():
        raise ValueError(f"`{key}` must be a whole number, not {entry[key]!r}")
    return int(value)


def box_of(entry: Mapping[str, Any], key: str) -> tuple[float, float, float, float]:
    """Left, top, width, height in pixels.

    Raises:
        KeyError: there is none.
        ValueError: it is no box.
    """
    found = entry[key]
    if not isinstance(found, list) or len(found) != 4:
        raise ValueError(f"`{key}` must be [left, top, width, height], not {found!r}")
    left, top, width, height = (number_of({key: side}, key) for side in found)
    return left, top, width, height

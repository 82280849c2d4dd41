"""What an entry of a file with predictions must have; who reads the file says which entry it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class WholeCell(int):
    """A whole number in a table, in which an answer such as "2" looks the same."""

    written: str

    def __new__(cls, value: int, written: str) -> WholeCell:
        """The number, and how it is written."""
        cell = super().__new__(cls, value)
        cell.written = written
        return cell


class DecimalCell(float):
    """The same of a number with decimals."""

    written: str

    def __new__(cls, value: float, written: str) -> DecimalCell:
        """The number, and how it is written."""
        cell = super().__new__(cls, value)
        cell.written = written
        return cell


def name(entry: Mapping[str, Any], key: str) -> str:
    """The id of a question, text or a whole number.

    Raises:
        KeyError: it is missing.
        TypeError: it is neither.
    """
    value = entry[key]
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise TypeError(f"`{key}` must be an id, text or a whole number, not {_told(value)}")
    return str(value)


def text(entry: Mapping[str, Any], key: str) -> str:
    """A text as it is, which may be empty.

    Raises:
        KeyError: it is missing.
        TypeError: it is no text.
    """
    value = entry[key]
    if isinstance(value, WholeCell | DecimalCell):
        return value.written
    if not isinstance(value, str):
        raise TypeError(f"`{key}` must be text, not {_told(value)}")
    return value


def probability(entry: Mapping[str, Any], key: str) -> float:
    """A number between 0 and 1.

    Raises:
        KeyError: it is missing.
        TypeError: it is no number.
        ValueError: it is NaN, or not between 0 and 1.
    """
    value = entry[key]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"`{key}` must be a number, not {_told(value)}")
    if not 0 <= value <= 1:  # nor is NaN
        raise ValueError(f"`{key}` must be between 0 and 1, not {_told(value)}")
    return float(value)


def place(entry: Mapping[str, Any], key: str) -> int:
    """A whole number from 0 on.

    Raises:
        KeyError: it is missing.
        TypeError: it is no whole number.
        ValueError: it is below 0.
    """
    value = entry[key]
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"`{key}` must be a whole number, not {_told(value)}")
    if value < 0:
        raise ValueError(f"`{key}` must be 0 or more, not {value}")
    return value


def as_given(id_: str) -> str | int:
    """An id as the official files have it: a number where it is one."""
    return int(id_) if id_.isascii() and id_.isdecimal() and str(int(id_)) == id_ else id_


def _told(value: Any) -> str:
    return repr(value)[:50]

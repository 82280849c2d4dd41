"""Files of predictions, of any model, as servers of benchmarks take them.

A JSON list, one JSON object that holds the list, an object on each line, or a table with a head (CSV, TSV); of some
benchmarks also one JSON object, id → prediction. What a file begins with tells its form, not its name, and only the
entry that is looked at is in memory.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tinygptv.data.entries import content_of
from tinygptv.data.json_items import JsonItem, first_character, read_items, read_members
from tinygptv.evaluation.benchmarks.seam import Prediction
from tinygptv.evaluation.benchmarks.submissions import DecimalCell, WholeCell
from tinygptv.ground.errors import DataError, brief


def read_predictions(
    path: Path, read: Callable[[Mapping[str, Any]], tuple[str, Prediction]], id_key: str = ""
) -> dict[str, Prediction]:
    """Id → prediction.

    Args:
        path: the file.
        read: a benchmark's ``read_prediction``.
        id_key: its ``id_key``.

    Raises:
        DataError: the file is of no such form, an entry is no prediction, or an id has two.
    """
    found: dict[str, Prediction] = {}
    for place, entry in _entries(path, id_key):
        try:
            name, prediction = read(entry)
        except KeyError as missing:
            raise DataError(f"{place} has no `{missing.args[0]}`") from None
        except (TypeError, ValueError) as problem:
            raise DataError(f"{place}: {brief(problem)}") from None
        if name in found:
            raise DataError(f"{place}: {name} has a prediction already; keep one")
        found[name] = prediction
    return found


def _entries(path: Path, id_key: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Place and content of each prediction."""
    objects = ((item.place, content_of(item)) for item in _json_items(path, id_key))
    for place, entry in objects if first_character(path) in ("", "[", "{") else _rows(path):
        for key, value in entry.items():
            for number in value if isinstance(value, list) else [value]:
                if isinstance(number, float) and not math.isfinite(number):
                    raise DataError(f"{place}: `{key}` is {number}, which is no number to count with")
        yield place, entry


def _json_items(path: Path, id_key: str) -> Iterator[JsonItem]:
    if id_key and first_character(path) == "{" and _is_by_id(path):
        for name, item in read_members(path):
            yield JsonItem(item.place, {id_key: name, **item.content})
        return
    holder = _holder(path) if first_character(path) == "{" else None
    if holder is None:
        yield from read_items(path)
        return
    for name, item in read_members(path):
        if name == holder:
            yield item
        elif _in_list(path, name, item):
            raise DataError(f"{path} holds several lists, {holder} and {name}; keep that of the predictions")


def _holder(path: Path) -> str | None:
    """The first member that is a list of objects, where the whole file is one object around it."""
    holder = None
    try:
        for name, item in read_members(path):
            holder = holder or (name if _in_list(path, name, item) else None)
    except DataError:
        if _on_lines(path):
            return None
    return holder  # what is damaged is told where it is read


def _is_by_id(path: Path) -> bool:
    """Whether the whole file is one object whose members are objects."""
    try:
        members = read_members(path)
        return all(isinstance(item.content, dict) and not _in_list(path, name, item) for name, item in members)
    except DataError:
        return False  # what is damaged is told where it is read


def _on_lines(path: Path) -> bool:
    """Whether its first line is a whole object."""
    try:
        return next(read_items(path), None) is not None
    except DataError:
        return False


def _in_list(path: Path, name: str, item: JsonItem) -> bool:
    return isinstance(item.content, dict) and item.place != f"{path.name}, {name}"


def _rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Rows of a table; cells that are numbers are read as such, and remember their text."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            begin = file.readline()
            delimiter = next((mark for mark in "\t," if mark in begin), "")
            file.seek(0)
            rows = csv.reader(file, delimiter=delimiter or ",", strict=True)
            head = next(rows)
            if not delimiter or len({*head}) < len(head):
                raise DataError(
                    f"{path} begins with {brief(','.join(head), 40)!r}: it must be JSON, a list of predictions or one "
                    "on each line, or a table with a head"
                )
            for row in rows:
                place = f"{path.name}, line {rows.line_num}"
                if row and len(row) != len(head):
                    raise DataError(f"{place}: {len(row)} cells below a head of {len(head)}")
                if row:
                    yield place, {key: _cell(cell) for key, cell in zip(head, row, strict=True)}
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path} is no table: {brief(error)}; write it again as UTF-8") from None


def _cell(text: str) -> Any:
    """The number that a cell is, else its text; None of an empty one."""
    try:
        value = json.loads(text) if text else None
    except ValueError:
        return text
    if isinstance(value, bool) or not isinstance(value, int | float):
        return text or None
    return WholeCell(value, text) if isinstance(value, int) else DecimalCell(value, text)

"""Rows of files that pair a picture with a text, a class among them, and what becomes of each (docs/data.md)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tinygptv.config import DataSet
from tinygptv.data.columns import Columns, check_columns, columns_of, pair_of, text_of
from tinygptv.data.conversations import kind, rejection
from tinygptv.data.json_items import JsonItem
from tinygptv.data.named_pictures import one_picture
from tinygptv.data.named_splits import split_of_cell
from tinygptv.data.record_names import RecordNames, own_id
from tinygptv.data.record_rules import RecordError
from tinygptv.data.source import Found, ImageFile, Rejection, Source
from tinygptv.data.tables import JSON_FILES, read_rows
from tinygptv.ground.errors import DataError

CLASSES = ("label", "class", "class_name", "category")
"""What columns are called that have a class; the first that is there is taken where no other has a text."""
WHAT_CLASS = "What is shown in the image?"
"""What a class of pictures is the answer to."""
_QUESTION = "what class"
"""The column that a row gets where it has a class."""
_SEVERAL = ("_file_name", "_file_names")
"""Endings of columns of an image folder's metadata that name further pictures."""


def pair_rows(
    path: Path, source: Source, names: RecordNames, *, folder: str = "", split: str = ""
) -> Iterator[Found | Rejection]:
    """What becomes of the rows of a file.

    Args:
        path: the file.
        source: the data set.
        names: those that its records have so far.
        folder: what to put before the names of pictures, from the folder of images on; empty, or with its slash.
        split: of the file; a row may say another.

    Raises:
        DataError: the file cannot be read, or no column of its table names pictures, or has texts.
    """
    settings, is_table = source.settings, path.suffix.lower() not in JSON_FILES
    keys, columns = None, None
    for item in read_rows(path):
        told = item.place
        try:
            row = _row(item)
            if columns is None or tuple(row) != keys:
                keys, columns = tuple(row), _columns(row, settings, path if is_table else None)
            own = "" if (given := row.get(columns.id)) is None else own_id({"id": given})
            told = own or told
            name = names.of(own, [folder, item.content])
            image = _picture(row, columns, folder, source)
            if columns.question == _QUESTION:
                row = {**row, _QUESTION: WHAT_CLASS}
            said = split_of_cell(text_of(row.get(columns.split), columns.split), columns.split) or split
            yield replace(pair_of(name, row, columns, image, settings.task), split=said)
        except RecordError as error:
            yield rejection(told, error.reason)
        except RecursionError:
            yield rejection(told, "is nested too deeply")


def pair_columns(row: Mapping[str, Any], settings: DataSet, where: str) -> Columns:
    """Which columns of a row are what; a class is an answer where nothing else is one.

    Raises:
        DataError: there is no column of pictures, or none of texts.
    """
    columns = columns_of(row, settings, where)
    if not columns.image and (several := next((name for name in row if name.lower().endswith(_SEVERAL)), "")):
        columns = replace(columns, image=several)
    by_lower = {name.strip().lower(): name for name in row}
    if not columns.answer and (label := next((by_lower[name] for name in CLASSES if name in by_lower), "")):
        columns = replace(columns, answer=label, question=columns.question or _QUESTION)
    check_columns(columns, row, where)
    return columns


def pictures_of_row(row: Mapping[str, Any], columns: Columns) -> list[Any]:
    """What a row says of its pictures."""
    among = [columns.image]
    if columns.image.lower().endswith(_SEVERAL):
        among = [name for name in row if name.lower().endswith(_SEVERAL)]
    given = [one for name in among for one in (row[name] if isinstance(row.get(name), list) else [row.get(name)])]
    return [one for one in given if one is not None and one != ""]


def class_record(name: str, label: str, source: Source, image: ImageFile) -> Found:
    """A picture of a class."""
    columns = Columns(image="", question=_QUESTION, answer="label", id="", split="")
    return pair_of(name, {_QUESTION: WHAT_CLASS, "label": label}, columns, image, source.settings.task)


def _row(item: JsonItem) -> dict[str, Any]:
    if item.problem:
        raise RecordError(item.problem, item.place)
    if not isinstance(item.content, dict):
        raise RecordError(f"a record is an object with a picture and a text, not {kind(item.content)}", item.place)
    return item.content


def _columns(row: Mapping[str, Any], settings: DataSet, table: Path | None) -> Columns:
    """The columns of a table, which all rows have, so that a fault is that of the file; else of a row alone."""
    if table is not None:
        return pair_columns(row, settings, str(table))
    try:
        return pair_columns(row, settings, "it")
    except DataError as error:
        raise RecordError(str(error), "") from None


def _picture(row: Mapping[str, Any], columns: Columns, folder: str, source: Source) -> ImageFile:
    names = pictures_of_row(row, columns)
    image = one_picture([f"{folder}{name}" if _is_below(name) else name for name in names], source)
    if image is None:
        raise RecordError(f"names no picture: `{columns.image}` is empty", "")
    return image


def _is_below(name: object) -> bool:
    return isinstance(name, str) and name.strip() != "" and not name.startswith("/") and "://" not in name

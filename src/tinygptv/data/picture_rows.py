"""From rows of parquet files with pictures to records: what the forms of such files share."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from typing import Any

from tinygptv.data.cell_pictures import CellPictures
from tinygptv.data.columns import Columns, text_of
from tinygptv.data.conversations import rejection
from tinygptv.data.json_items import JsonItem
from tinygptv.data.named_splits import NamedSplits, split_of_cell
from tinygptv.data.parquet_rows import PARQUET, column_names, read_parquet
from tinygptv.data.record_names import RecordNames
from tinygptv.data.record_rules import RecordError
from tinygptv.data.source import Found, ImageFile, Rejection, Source
from tinygptv.data.tables import record_files

Picture = ImageFile | bytes | None
Make = Callable[[str, Mapping[str, Any], Columns, Picture], Iterator[Found]]
"""From name, cells, columns and picture to the records of a row; a ``RecordError`` says why there are none."""
Choose = Callable[[list[str], str], tuple[Columns, tuple[str, ...]]]
"""From a file's columns and its name to those that are read: roles, and others."""


def records_of_rows(source: Source, choose: Choose, make: Make) -> Iterator[Found | Rejection]:
    """The records of all rows of all files. A row without an id of its own is named by its file and number.

    Raises:
        DataError: there is no parquet file, one is damaged, or it lacks a column.
    """
    files = record_files(source, (PARQUET,))
    splits = NamedSplits(files)
    with closing(RecordNames()) as names, closing(CellPictures(source)) as pictures:
        for path in files:
            columns, others = choose(column_names(path), str(path))
            read = {columns.image, columns.question, columns.answer, columns.id, columns.split, *others}
            for row in read_parquet(path, read):
                yield from _of_row(row, columns, make, names, pictures, splits.of(path))


def _of_row(
    row: JsonItem, columns: Columns, make: Make, names: RecordNames, pictures: CellPictures, split: str
) -> Iterator[Found | Rejection]:
    told, cells = row.place, row.content
    if row.problem:
        yield rejection(told, row.problem)
        return
    try:
        told = text_of(cells.get(columns.id), columns.id) or told
        split = split_of_cell(text_of(cells.get(columns.split), columns.split), columns.split) or split
        image = pictures.of(cells.get(columns.image), columns.image)
        name = names.of(told, [content_key(image), repr({key: cells[key] for key in cells if key != columns.image})])
        for found in make(name, cells, columns, image):
            yield replace(found, split=split)
    except RecordError as error:
        yield rejection(told, error.reason)
    except RecursionError:
        yield rejection(told, "is nested too deeply")


def content_key(image: Picture) -> str:
    """What tells a picture from others, by its content; nothing of none."""
    if isinstance(image, bytes):
        return hashlib.sha256(image).hexdigest()
    return "" if image is None else image.sha256

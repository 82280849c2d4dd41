"""Parquet files with pictures, as Hugging Face's `datasets` writes them: a picture and its texts in each row.

pyarrow reads them, a few rows at once. docs/data.md says which columns are read, and how.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from tinygptv.data.columns import USUAL, Columns, check_columns, columns_of, pair_of
from tinygptv.data.conversations import records_of
from tinygptv.data.formats import cauldron
from tinygptv.data.formats.img2dataset import METADATA
from tinygptv.data.message_rows import LISTS, SYSTEMS, turns_in
from tinygptv.data.parquet_rows import PARQUET
from tinygptv.data.picture_rows import Picture, records_of_rows
from tinygptv.data.recognise import Look, Recognised
from tinygptv.data.source import Found, Rejection, Source


def read(source: Source) -> Iterator[Found | Rejection]:
    """The rows of all files.

    Raises:
        DataError: there is no parquet file, one is damaged, or it has no column of pictures or answers.
    """

    def choose(names: list[str], where: str) -> tuple[Columns, tuple[str, ...]]:
        columns = columns_of(names, source.settings, where)
        talks = tuple(name for name in names if name in LISTS)[:1]
        if talks:
            return columns, (*talks, *SYSTEMS)
        check_columns(columns, names, where)
        return columns, ()

    def make(name: str, cells: Mapping[str, Any], columns: Columns, image: Picture) -> Iterator[Found]:
        if any(talk in cells for talk in LISTS):
            turns = turns_in(cells, has_picture=image is not None, where=columns.image)
            yield from records_of(name, turns, image, source)
        else:
            yield pair_of(name, cells, columns, image, source.settings.task)

    return records_of_rows(source, choose, make)


def recognise(look: Look) -> Recognised | None:
    """Parquet files, where each row has a picture, and a text or a conversation."""
    files = [name for name in look.named(PARQUET) if PurePosixPath(name).stem != "metadata"]  # an image folder's
    first = next(iter(look.entries(files[0])), None) if files else None
    if first is None or first.keys() >= METADATA or cauldron.recognise(look) is not None:
        return None
    lower = {name.lower(): name for name in first}
    image = next((lower[name] for name in USUAL["image"] if name in lower), None)
    text = next((lower[name] for name in (*LISTS, *USUAL["answer"]) if name in lower), None)
    if image is None or text is None:
        return None
    return Recognised(
        why=f"{files[0]} is parquet with pictures in `{image}` and texts in `{text}`",
        files=(look.path,),
        images=look.images,
    )

"""Pairs of a picture and a text in a table: CSV, TSV, JSON, JSON lines or parquet (docs/data.md).

A row has a picture and a caption, or a picture, a question and an answer, or a picture and its class.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING

from tinygptv.config import DataSet
from tinygptv.data.formats import imagefolder, karpathy, messages, questions
from tinygptv.data.named_splits import NamedSplits
from tinygptv.data.pair_rows import pair_columns, pair_rows, pictures_of_row
from tinygptv.data.recognise import Recognised, folder_of_pictures, keys_of, object_files
from tinygptv.data.record_names import RecordNames
from tinygptv.data.source import Found, Rejection, Source
from tinygptv.data.tables import JSON_FILES, SUFFIXES, TEXT_TABLES, record_files
from tinygptv.ground.errors import DataError

if TYPE_CHECKING:
    from typing import Any

    from tinygptv.data.recognise import Look

_UNSET = DataSet(format="pairs", licence="unknown")


def read(source: Source) -> Iterator[Found | Rejection]:
    """The records of all files.

    Raises:
        DataError: a file is damaged, or no column of its table names pictures, or has texts.
    """
    files = record_files(source, SUFFIXES)
    splits = NamedSplits(files)
    with closing(RecordNames()) as names:
        for path in files:
            yield from pair_rows(path, source, names, split=splits.of(path))


def recognise(look: Look) -> Recognised | None:
    """CSV, TSV or JSON whose rows have a picture and a text under usual names, and that are of no other form."""
    others = [found for form in (questions, messages, karpathy) if (found := form.recognise(look)) is not None]
    taken = {path for found in others for path in found.files}
    files = object_files(look, (*TEXT_TABLES, *JSON_FILES), lambda entries: all(map(_named, entries)))
    files = {path: rows for path, rows in files.items() if path not in taken and path.name not in imagefolder.METADATA}
    if not files:
        return None
    file, entries = next(iter(files.items()))
    return Recognised(
        why=f"the rows of {file.name} have {keys_of(entries)}",
        files=tuple(files),
        images=folder_of_pictures(look, file, [name for entry in entries for name in _named(entry)]),
    )


def _named(entry: dict[str, Any]) -> list[str]:
    """The pictures of a row that pairs them with a text; none where it holds what rows of other forms do."""
    try:
        columns = pair_columns(entry, _UNSET, "")
    except DataError:
        return []
    names = pictures_of_row(entry, columns)
    held = [*entry.values(), *(one for value in entry.values() if isinstance(value, list) for one in value)]
    plain = all(isinstance(name, str) for name in names) and not any(isinstance(value, dict) for value in held)
    return names if plain else []

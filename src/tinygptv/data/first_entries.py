"""The first entries of a file of records, or members of one object: enough to tell what it is."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

from tinygptv.data.json_items import read_members
from tinygptv.data.tables import SUFFIXES, read_rows
from tinygptv.ground.errors import DataError

COUNT = 20
_LOOKED_AT = 1_000_000


def first_entries(path: Path) -> list[Any]:
    """Objects of JSON or JSON lines, rows of CSV, TSV or parquet; nothing of another file."""
    if path.suffix.lower() not in SUFFIXES:
        return []
    try:
        return [item.content for item in islice(read_rows(path), COUNT) if not item.problem]
    except DataError:
        return []  # the form that reads it says what is wrong


def first_members(path: Path) -> dict[str, Any]:
    """The members of the one object that a file is, of those that are lists the first entry; nothing of another file.

    A member after a million entries of others is not seen.
    """
    found: dict[str, Any] = {}
    try:
        for name, item in islice(read_members(path), _LOOKED_AT):
            found.setdefault(name, item.content)
    except DataError:
        pass  # the form that reads it says what is wrong
    return found

"""The first entries of a file of records, whatever its form: enough to tell what it is."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

from tinygptv.data.tables import SUFFIXES, read_rows
from tinygptv.ground.errors import DataError

COUNT = 20


def first_entries(path: Path) -> list[Any]:
    """Objects of JSON or JSON lines, rows of CSV, TSV or parquet; nothing of another file."""
    if path.suffix.lower() not in SUFFIXES:
        return []
    try:
        return [item.content for item in islice(read_rows(path), COUNT) if not item.problem]
    except DataError:
        return []  # the form that reads it says what is wrong

"""The first entries of a file of records, whatever its form: enough to tell what it is."""

from __future__ import annotations

import csv
from itertools import islice
from pathlib import Path
from typing import Any

from tinygptv.data.json_items import read_items
from tinygptv.ground.errors import DataError

COUNT = 20


def first_entries(path: Path) -> list[Any]:
    """Objects of JSON or JSON lines, rows of CSV, TSV or parquet; nothing of another file."""
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return _of_parquet(path)
    if suffix in (".csv", ".tsv"):
        return _of_table(path, "\t" if suffix == ".tsv" else ",")
    if suffix in (".json", ".jsonl", ".ndjson"):
        return _of_json(path)
    return []


def _of_json(path: Path) -> list[Any]:
    try:
        return [item.content for item in islice(read_items(path), COUNT) if not item.problem]
    except DataError:
        return []  # the form that reads it says what is wrong


def _of_table(path: Path, delimiter: str) -> list[dict[str, Any]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return list(islice(csv.DictReader(file, delimiter=delimiter), COUNT))
    except (UnicodeDecodeError, csv.Error):
        return []


def _of_parquet(path: Path) -> list[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            batch = next(file.iter_batches(COUNT), None)
    except (pa.ArrowException, OSError):
        return []
    return [] if batch is None else batch.to_pylist()

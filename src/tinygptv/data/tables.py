"""Rows of tables: CSV and TSV as spreadsheets and programs write them, JSON, JSON lines, parquet; one row in memory.

A table has a header, or its first line has the name of a picture: then its columns get their names by their place.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from io import TextIOBase
from itertools import zip_longest
from pathlib import Path

from tinygptv.data.json_items import MOST, JsonItem, first_character, no_utf8, read_items
from tinygptv.data.parquet_rows import PARQUET, column_names, read_parquet
from tinygptv.data.source import Source
from tinygptv.ground.errors import DataError

TEXT_TABLES = (".csv", ".tsv")
JSON_FILES = (".json", ".jsonl", ".ndjson")
SUFFIXES = (*TEXT_TABLES, *JSON_FILES, PARQUET)
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")
"""Endings of pictures' names; which of them can be read, their content tells."""
_SIGNS = ",;\t|"
_SAID = re.compile(r"sep=(.)\s*", re.IGNORECASE)
"""The first line of a spreadsheet's file may say what separates its cells."""
_UNNAMED = {2: ("image", "text"), 3: ("image", "question", "answer")}
_EMPTY = ("", "nan", "NaN", "null", "NULL", "<NA>", "#N/A")
"""What programs write into a cell where there is nothing."""


def read_rows(path: Path) -> Iterator[JsonItem]:
    """The rows of a file, each an object; the ending of its name tells its kind.

    Raises:
        DataError: the file is damaged, is no UTF-8, or has no columns.
    """
    suffix = path.suffix.lower()
    if suffix in TEXT_TABLES:
        return _of_text(path)
    return read_parquet(path, column_names(path)) if suffix == PARQUET else read_items(path)


def record_files(source: Source, suffixes: Collection[str]) -> list[Path]:
    """The files of a data set with one of these endings; a folder in `files` may have others beside them.

    Raises:
        DataError: there is none.
    """
    found = [path for path in source.files if path.suffix.lower() in suffixes]
    if not found:
        raise DataError(f"data set {source.name}: none of its `files` is one of {', '.join(suffixes)}; name it there")
    return found


def is_picture(name: object) -> bool:
    """Whether a text ends as the name of a picture does."""
    return isinstance(name, str) and name.strip().lower().endswith(PICTURES)


def _of_text(path: Path) -> Iterator[JsonItem]:
    first_character(path)  # tells other encodings
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = _Lines(path, file)
        first = next((line for line in lines if line.strip()), "")
        sign = said[1] if (said := _SAID.fullmatch(first)) else _sign(path, first)
        if not said:
            lines.push_back(first)
        rows = _rows(path, lines, sign)
        _, header = next(rows, (0, []))
        if len(header) < 2:
            raise DataError(f"{path} has {'one column' if header else 'no rows'}; a picture and a text are the least")
        columns = _columns(path, header)
        if columns is not header:
            yield JsonItem(f"{path.name}, line 1", _row(columns, header))
        for line, cells in rows:
            place = f"{path.name}, line {line}"
            if len(cells) > len(columns):
                told = f"has {len(cells)} cells, and the header {len(columns)}"
                yield JsonItem(place, None, f"{told}; put a text with {sign!r} into double quotes")
            elif any(cells):
                yield JsonItem(place, _row(columns, cells))


def _row(columns: Sequence[str], cells: Sequence[str]) -> dict[str, str | None]:
    """A row without its unnamed columns; None where a cell is missing at its end, or says that there is nothing."""
    values = (None if cell.strip() in _EMPTY else cell for cell in cells)
    return {name: value for name, value in zip_longest(columns, values) if name.strip()}


class _Lines:
    """The lines of a text file, numbered from 1; one that does not end is refused."""

    def __init__(self, path: Path, file: TextIOBase) -> None:
        self._path, self._file, self._pushed = path, file, ""
        self.number = 0

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line, self._pushed = self._pushed, ""
        try:
            line = line or self._file.readline(MOST + 1)
        except UnicodeDecodeError as error:
            raise no_utf8(self._path, self.number, error) from None
        if not line:
            raise StopIteration
        self.number += 1
        if len(line) > MOST:
            raise DataError(f"{self._path}, line {self.number} has more than {MOST:,} characters; write a row on each")
        return line

    def push_back(self, line: str) -> None:
        """Give it out once more."""
        self._pushed = line
        self.number -= bool(line)


def _rows(path: Path, lines: _Lines, sign: str) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not empty, each with the number of its first line."""
    csv.field_size_limit(MOST)
    reader = csv.reader(lines, delimiter=sign, strict=True)
    while True:
        line = lines.number + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise DataError(
                f"{path}, line {line}: a text in double quotes does not end as it must ({error}); a quotation mark "
                "within it is written twice"
            ) from None
        if cells is None:
            return
        if cells:
            yield line, cells


def _sign(path: Path, first: str) -> str:
    """What separates the cells of the first line: the one between which the name of a picture stands, or most cells."""
    signs = sorted(_SIGNS, key=lambda sign: (sign == "\t") != (path.suffix.lower() == ".tsv"))

    def fits(sign: str) -> tuple[int, int]:
        cells = first.strip("\r\n").split(sign)
        named = (is_picture(cell.strip(' "')) and not any(other in cell for other in _SIGNS) for cell in cells)
        return sum(named), len(cells)

    return max(signs, key=fits)


def _columns(path: Path, first: list[str]) -> Sequence[str]:
    """The header, which is what was given; or, where a picture stands in it, other names by the places."""
    if not any(is_picture(cell) for cell in first):
        again = [name for name, times in Counter(first).items() if name.strip() and times > 1]
        if again:
            raise DataError(f"{path} has two columns {again[0]!r}; rename one")
        return first
    names = _UNNAMED.get(len(first))
    if names is None:
        raise DataError(
            f"{path} has {len(first)} columns without names; write a first line that names them, such as image,caption"
        )
    others = iter(names[1:])
    place = next(place for place, cell in enumerate(first) if is_picture(cell))
    return [names[0] if number == place else next(others) for number in range(len(first))]

"""JSON files of any size: a list, an object on each line, or one object. Only the entry that is looked at is in memory.

The standard library's decoder reads each entry. A file that is no JSON is refused with the place; of a file with an
object on each line, only a line that is none.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from dataclasses import dataclass
from io import TextIOBase
from pathlib import Path
from typing import Any

from tinygptv.ground.errors import DataError

MOST = 64 << 20
"""Characters of one entry; a file whose entries do not end is refused there."""
_CHUNK = 1 << 20
_SPACE = " \t\n\r"
_DECODER = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class JsonItem:
    """An entry of a file."""

    place: str
    """Such as ``cats.json, entry 3``, ``cats.jsonl, line 3`` or ``cats.json, annotations 3``."""
    content: Any
    problem: str = ""
    """Why it cannot be read, if it cannot."""


def read_items(path: Path) -> Iterator[JsonItem]:
    """The entries of a file, in its order. What it begins with tells its form, not its name.

    Raises:
        DataError: the file is neither form, or is damaged; the message has line and column.
    """
    first = first_character(path)
    if first == "[":
        return _of_list(path)
    if first == "{":
        return _of_lines(path)
    raise DataError(f"{path} {_begins(first)}: it must be a JSON list of records, or have one record on each line")


def read_members(path: Path) -> Iterator[tuple[str, JsonItem]]:
    """The members of the one object that a file is, in its order: name and value.

    A member that is a list comes entry by entry, each under the member's name, and not at all where it is empty. A name
    that stands twice comes twice.

    Raises:
        DataError: the file is no object, or is damaged; the message has line and column.
    """
    if (first := first_character(path)) != "{":
        raise DataError(f"{path} {_begins(first)}: it must be a JSON object")
    with path.open(encoding="utf-8-sig") as file:
        text = _Text(path, file)
        for _ in _parts(text, "}", "object"):
            name = text.value()
            if not isinstance(name, str):
                raise text.fault("a member must begin with its name")
            if text.next_character() != ":":
                raise text.fault("no colon after the name of a member")
            text.skip()
            if text.next_character() == "[":
                for count in _parts(text, "]", "list"):
                    yield name, JsonItem(f"{path.name}, {name} {count}", text.value())
            else:
                yield name, JsonItem(f"{path.name}, {name}", text.value())
        text.finish("object")


def _begins(first: str) -> str:
    return f"begins with {first!r}" if first else "is empty"


def first_character(path: Path) -> str:
    """What a text file begins with, white space left out; empty where it has nothing else.

    Raises:
        DataError: it is not UTF-8 text.
    """
    with path.open("rb") as file:
        part = file.read(4096).removeprefix(codecs.BOM_UTF8)
        while part and not (part := part.lstrip()):
            part = file.read(4096)
    if part[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) or b"\0" in part[:2]:
        raise DataError(f"{path} is not UTF-8 text; save it as UTF-8")
    return part[:1].decode("ascii", "replace")


def _of_list(path: Path) -> Iterator[JsonItem]:
    with path.open(encoding="utf-8-sig") as file:
        text = _Text(path, file)
        for count in _parts(text, "]", "list"):
            yield JsonItem(f"{path.name}, entry {count}", text.value())
        text.finish("list")


def _parts(text: _Text, end: str, kind: str) -> Iterator[int]:
    """Number the parts of the list or object that begins at the next character; who asks takes each part himself."""
    text.next_character()
    text.skip()
    count, mark = 0, ","
    if text.next_character() == end:
        mark = end
        text.skip()
    while mark == ",":
        yield (count := count + 1)
        mark = text.next_character()
        if mark not in (",", end):
            raise text.fault(f"no comma and no end of the {kind}")
        text.skip()
        text.next_character()


def _of_lines(path: Path) -> Iterator[JsonItem]:
    with path.open("rb") as file:
        number, good = 0, False
        while line := file.readline(MOST + 1):
            number += 1
            if len(line) > MOST:
                raise DataError(f"{path}, line {number} has more than {MOST:,} bytes; write one record on each line")
            if not (line := line.removeprefix(codecs.BOM_UTF8) if number == 1 else line).strip():
                continue
            place = f"{path.name}, line {number}"
            try:
                item = JsonItem(place, json.loads(line))
            except (ValueError, RecursionError) as error:
                item = JsonItem(place, None, f"is not valid JSON ({error})")
                if not good:  # most likely an object over several lines, or no JSON at all
                    raise DataError(
                        f"{path}, line {number} {item.problem}; write a JSON list of records, or one on each line"
                    ) from None
            good = True
            yield item


class _Text:
    """A window that moves over a file's text."""

    def __init__(self, path: Path, file: TextIOBase) -> None:
        self._path, self._file = path, file
        self._text, self._place = "", 0
        self._line, self._column = 1, 1  # of the window's first character

    def next_character(self) -> str:
        """The next character that is no space, which is not taken; empty at the end."""
        while True:
            while self._place < len(self._text):
                if self._text[self._place] not in _SPACE:
                    return self._text[self._place]
                self._place += 1
            if not self._more(_CHUNK):
                return ""

    def skip(self) -> None:
        """Take it."""
        self._place += 1

    def value(self) -> Any:
        """Take the value that begins at the next character."""
        self.next_character()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._place)
                problem, length = "", end - self._place
            except (ValueError, RecursionError) as error:
                value, problem = None, getattr(error, "msg", str(error)).removesuffix(" starting at")
                length = getattr(error, "pos", self._place) - self._place
            size = len(self._text) - self._place
            # At the border of the window a number could go on and a text could end: it may be a part.
            if (problem or length == size) and size < MOST and self._more(max(size, _CHUNK)):
                continue
            self._place += length
            if problem:
                raise self.fault(problem)
            return value

    def finish(self, kind: str) -> None:
        """Check that the list or object that was read is the whole file."""
        if self.next_character():
            raise self.fault(f"something follows the {kind}")

    def fault(self, what: str) -> DataError:
        """An error at the present place."""
        before = self._text[: self._place]
        lines = before.count("\n")
        column = len(before) - before.rfind("\n") if lines else self._column + len(before)
        return DataError(f"{self._path}, line {self._line + lines}, column {column}: not valid JSON: {what}")

    def _more(self, size: int) -> bool:
        """Forget what is taken and read on; False at the end of the file."""
        gone = self._text[: self._place]
        lines = gone.count("\n")
        self._column = len(gone) - gone.rfind("\n") if lines else self._column + len(gone)
        self._line += lines
        self._text, self._place = self._text[self._place :], 0
        try:
            part = self._file.read(size)
        except UnicodeDecodeError as error:
            raise no_utf8(self._path, self._line, error) from None
        self._text += part
        return bool(part)


def no_utf8(path: Path, line: int, error: UnicodeDecodeError) -> DataError:
    """What to tell of a text file that is saved otherwise."""
    return DataError(f"{path} is not UTF-8 text ({error.reason} after line {line}); save it as UTF-8")

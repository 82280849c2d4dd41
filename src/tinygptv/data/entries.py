"""Entries of the official files of benchmarks: what they must have, checked one by one.

Such a file is whole or it is no measure, so a broken entry is an error that names it, not a record that is left out;
of a set that is trained on, it is left out all the same (``data/annotations.py``, ``annotated``).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from tinygptv.data.json_items import JsonItem, read_members
from tinygptv.ground.errors import DataError

T = TypeVar("T", str, int, dict[str, Any], list[Any])
LARGEST_SIDE = 1_000_000
"""Pixels; no picture that can be read has as many."""
_KINDS: dict[type, str] = {str: "text", int: "a whole number", dict: "an object", list: "a list"}


def content_of(item: JsonItem) -> dict[str, Any]:
    """An entry that is an object.

    Raises:
        DataError: it is none.
    """
    if item.problem:
        raise DataError(f"{item.place} {item.problem}")
    if not isinstance(item.content, dict):
        raise DataError(f"{item.place} is no object")
    return item.content


def value_of(content: dict[str, Any], key: str, kind: type[T], place: str) -> T:
    """What an entry has under a key.

    Raises:
        DataError: it has nothing there, or something of another kind.
    """
    if key not in content:
        raise DataError(f"{place} has no `{key}`")
    value = content[key]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise DataError(f"{place}: `{key}` must be {_KINDS[kind]}, not {str(value)[:50]!r}")
    return value


def id_of(content: dict[str, Any], key: str, place: str) -> str:
    """The id that an entry has under a key: text or a whole number, which are the same to predictions.

    Raises:
        DataError: it has none.
    """
    value = content.get(key)
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise DataError(f"{place}: `{key}` must be an id, text or a whole number, not {str(value)[:50]!r}")
    return str(value)


def label_of(content: dict[str, Any], key: str, place: str) -> int:
    """A class that an entry has under a key: 0 or 1.

    Raises:
        DataError: it has none there, as the files of a hidden split.
    """
    value = value_of(content, key, int, place)
    if value not in (0, 1):
        raise DataError(f"{place}: `{key}` must be 0 or 1, not {value}")
    return value


def size_of(content: dict[str, Any], place: str) -> tuple[int, int]:
    """The `width` and `height` of an image in pixels.

    Raises:
        DataError: it has none that an image may have.
    """
    width, height = (value_of(content, side, int, place) for side in ("width", "height"))
    if not (1 <= width <= LARGEST_SIDE and 1 <= height <= LARGEST_SIDE):
        raise DataError(f"{place} is {str(width)[:20]} x {str(height)[:20]} pixels; write the size of the picture")
    return width, height


class Ids:
    """The ids of a file, each once."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def add(self, name: str, place: str) -> str:
        """Give the id back.

        Raises:
            DataError: it was there before.
        """
        if name in self._seen:
            raise DataError(f"{place}: the id {name} stands twice")
        self._seen.add(name)
        return name


def part_of(part: str, parts: Collection[str]) -> str:
    """A part of a benchmark by its name; the first where none is named.

    Raises:
        DataError: there is none of this name.
    """
    if part and part not in parts:
        raise DataError(f"there is no part {part}; there are {', '.join(parts)}")
    return part or next(iter(parts))


def is_trained(part: str) -> bool:
    """Whether a part is for training: a broken entry of it is left out and counted."""
    return part.startswith("train")


def named_part(files: Sequence[Path], parts: Collection[str]) -> str:
    """The part that the names of files say; the first where they say none, or several, and nothing without parts."""
    said = {found for path in files if (found := _part_in(path.stem, parts))}
    return said.pop() if len(said) == 1 else next(iter(parts), "")


def file_of(files: Sequence[Path], part: str, parts: Collection[str]) -> Path:
    """The file of a part, where the entries do not say of which part they are: the one with its name, or the only one.

    Args:
        files: what there is.
        part: the part; the first where none is named.
        parts: all; a file that is named after another one is not taken.

    Raises:
        DataError: there is no such part, no file is of it, or several are.
    """
    part = part_of(part, parts)
    files = [path for path in files if path.suffix in (".json", ".jsonl")] or files  # images may lie beside them
    named = {path: _part_in(path.stem, parts) for path in files}
    found = [path for path in files if named[path] == part]
    if not found and len(files) == 1 and not named[files[0]]:
        found = list(files)
    listed = ", ".join(path.name for path in files[:5]) or "nothing"
    if not found:
        raise DataError(f"no file is of the part {part}; there is {listed}: name its file, or the part of that one")
    if len(found) > 1:
        raise DataError(f"several files are of the part {part}: {', '.join(map(str, found[:5]))}; name one of them")
    return found[0]


def only_file(files: Sequence[Path], part: str, parts: Collection[str]) -> Path:
    """The only file, where the entries say of which part they are; of several the one of the part, as ``file_of``."""
    return files[0] if len(files) == 1 else file_of(files, part, parts)


def no_part(part: str | None, form: str) -> None:
    """Check that a profile names no part of a form that has none.

    Raises:
        DataError: it does.
    """
    if part:
        raise DataError(f"files of the form {form} have no parts, and the part {part} is named")


def checked_split(told: Any, part: str, path: Path) -> str:
    """The split that a file says it is of, such as ``val2014``; empty where it says none.

    Raises:
        DataError: it is another one than is asked for.
    """
    split = told if isinstance(told, str) else ""
    if part and split and split.rstrip("0123456789") != part:
        raise DataError(f"{path} is of {split}, not of {part}; name the file of {part}, or the split that it is of")
    return split


def entries_of_member(path: Path, member: str, like: str, part: str = "") -> Iterator[JsonItem]:
    """The entries of the list that a file's one object has under a name.

    Args:
        path: the file.
        member: the name.
        like: a file that has it, to be told of.
        part: the split that the file must be of, where its `dataset_type` says one; empty: any.

    Raises:
        DataError: the file is damaged, of another split, or has no such entries.
    """
    found = False
    for name, item in read_members(path):
        if name == "dataset_type":
            checked_split(item.content, part, path)
        elif name == member:
            found = True
            yield item
    if not found:
        raise DataError(f"{path} has no `{member}`, or nothing in it; name a file such as {like}")


def _part_in(stem: str, parts: Collection[str]) -> str:
    """The longest part that a file's name has as a word."""
    found = (part for part in parts if re.search(rf"(?<![a-z0-9]){re.escape(part.lower())}(?![a-z0-9])", stem.lower()))
    return max(found, key=len, default="")

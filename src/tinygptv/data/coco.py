"""COCO's files: how they name images, by numbers or one of the names that an image may have, and what they hold."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from tinygptv.data.json_items import read_members
from tinygptv.ground.errors import DataError

_NAME = re.compile(r"(?:COCO_([a-z]+\d{4})_)?(\d{12})\.jpg")
_LOOKED_AT = 1_000_000
_SPLITS = ("train2014", "val2014", "train2017", "val2017", "test2015")


def image_names(number: int, split: str = "") -> tuple[str, ...]:
    """The names that an image may have below a folder, in that of its split or without it.

    Numbers are unique over all splits, and the images of 2017 are those of 2014 under other names, so that any file
    with the number is the image.

    Args:
        number: of the image.
        split: such as ``val2014``, whose names come first; empty where it is not known.
    """
    return tuple(dict.fromkeys(_names(f"{number:012d}.jpg", split)))


def names_of_file(file: str) -> tuple[str, ...]:
    """The same of an image that annotations name; their name comes first, and that without its folders next."""
    base = PurePosixPath(file).name
    found = _NAME.fullmatch(base)
    others = image_names(int(found[2]), found[1] or "") if found else ()
    return tuple(dict.fromkeys((file, base, *others)))


def split_of_file(file: str) -> str:
    """The split that the name of an image has, such as ``val2014``; empty where it has none."""
    found = _NAME.fullmatch(PurePosixPath(file).name)
    return (found[1] or "") if found else ""


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


def _names(file: str, split: str) -> Iterator[str]:
    for one in (split, *_SPLITS) if split else _SPLITS:
        name = file if one.endswith("2017") else f"COCO_{one}_{file}"
        yield name
        yield f"{one}/{name}"

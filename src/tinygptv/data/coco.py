"""COCO's files: how they name images, by numbers or one of the names that an image may have, and what they hold."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from tinygptv.data.recognise import MOST_FOLDERS, Look, Recognised, member_files

_NAME = re.compile(r"(?:COCO_([a-z]+\d{4})_)?(\d{12})\.jpg")
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


def other_names(file: str) -> tuple[str, ...]:
    """Those of a picture that somebody's records name: none where its folder is not one of COCO's splits."""
    path = PurePosixPath(file)
    ours = path.parent.name in ("", *_SPLITS) and _NAME.fullmatch(path.name) is not None
    return names_of_file(file)[1:] if ours else ()


def split_of_file(file: str) -> str:
    """The split that the name of an image has, such as ``val2014``; empty where it has none."""
    found = _NAME.fullmatch(PurePosixPath(file).name)
    return (found[1] or "") if found else ""


def recognised(look: Look, key: str, but: str, what: str) -> Recognised | None:
    """JSON objects with `images`, and `annotations` of a kind.

    Args:
        look: what lies there.
        key: what the annotations have.
        but: what they must not have.
        what: what to call such files.
    """

    def fits(members: dict[str, Any]) -> bool:
        image, found = members.get("images"), members.get("annotations")
        return isinstance(image, dict) and isinstance(found, dict) and key in found and but not in found

    fitting = member_files(look, fits)
    if not fitting:
        return None
    first = next(iter(fitting))
    name = str(fitting[first]["images"].get("file_name"))
    return Recognised(
        why=f"{first.name} has `images`, and `annotations` with a `{key}`, as COCO's files of {what}",
        files=tuple(fitting),
        images=look.images or _folder_of_images(first, name),
    )


def _folder_of_images(file: Path, name: str) -> Path:
    """The folder that has an image: beside its file, or beside the file's folder, such as `annotations`."""
    names = names_of_file(name)
    for base in (file.parent, file.parent.parent):
        beside = islice((folder for folder in sorted(base.iterdir()) if folder.is_dir()), MOST_FOLDERS)
        for folder in (base, *beside):
            if any(os.path.isfile(folder / one) for one in names):  # noqa: PTH113 (it raises where a name is too long)
                return folder
    return file.parent


def _names(file: str, split: str) -> Iterator[str]:
    for one in (split, *_SPLITS) if split else _SPLITS:
        name = file if one.endswith("2017") else f"COCO_{one}_{file}"
        yield name
        yield f"{one}/{name}"

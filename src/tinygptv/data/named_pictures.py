"""The pictures that records name: below the folder of images, from which no name may lead out."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from tinygptv.data.coco import other_names
from tinygptv.data.conversations import kind
from tinygptv.data.record_rules import MAX_NAME, RecordError
from tinygptv.data.source import ImageFile, Source
from tinygptv.data.tasks import is_blank


def one_picture(names: Sequence[object], source: Source) -> ImageFile | None:
    """The picture of a record, or the first of several where the profile says so; None where it names none.

    Raises:
        RecordError: a name is none, or there are several.
    """
    for name in names:
        if not isinstance(name, str) or is_blank(name):
            raise RecordError(f"`image` must be the name of a file, not {kind(name)}", "")
    if not names:
        return None
    check_one(len(names), source)
    return find_picture(str(names[0]), source)


def check_one(count: int, source: Source) -> None:
    """Check that a record has one picture, or that the first is to be taken; else raise ``RecordError``."""
    if count > 1 and source.settings.several_images != "first":
        raise RecordError(f"has {count} pictures, and one is the most; `several_images: first` takes the first", "")


def find_picture(name: str, source: Source) -> ImageFile:
    """A picture by its name in a record, of COCO's by any that COCO gave it.

    Raises:
        RecordError: it is missing, an address, or lies outside the folder.
    """
    folder, shown = source.settings.images, repr(name[:MAX_NAME])
    if "://" in name or name.startswith("data:"):
        raise RecordError("its picture is an address; get the pictures, and name their files", "")
    anywhere = source.settings.outside == "allow"
    if not folder and not (anywhere and name.startswith("/")):
        raise RecordError(f"names the picture {shown}, but the data set has no folder `images`", "")
    for spelled in dict.fromkeys((name, name.replace("\\", "/"), *other_names(name))):
        inside = _inside(spelled, source.images) if folder else None
        if (inside is not None or anywhere) and (found := source.image(spelled if inside is None else inside)):
            return found
    if inside is None and not anywhere:
        raise RecordError(
            f"its picture {shown} lies outside of the folder {folder}; name a file below it, or set `outside: allow`",
            "",
        )
    raise RecordError(f"its picture {shown} is not {f'in the folder {folder}' if inside is not None else 'there'}", "")


def _inside(name: str, folder: Path) -> str | None:
    """A picture's name from the folder of images on; None where it leads out of it."""
    path = PurePosixPath(name)
    if ".." in path.parts:
        return None
    if path.is_absolute():
        above = next((base for base in (folder.absolute(), folder.resolve()) if path.is_relative_to(base)), None)
        return None if above is None else path.relative_to(above).as_posix()
    return posixpath.normpath(name)

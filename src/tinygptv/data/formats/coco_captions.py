"""COCO's captions: one object with the images and their captions, several an image (``captions_val2014.json``).

All captions of an image are one record, whose answers they are. Between the image and its captions may lie half a
million of others, so they are sorted on disk.

Source: Chen et al. 2015 (arXiv 1504.00325); cocodataset.org, "format of data".
"""

import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from tinygptv.data.annotations import Annotation, found
from tinygptv.data.coco import names_of_file, recognised, split_of_file
from tinygptv.data.entries import content_of, id_of, value_of
from tinygptv.data.json_items import JsonItem, read_members
from tinygptv.data.recognise import Look, Recognised
from tinygptv.data.source import Found, Rejection, Source
from tinygptv.data.tasks import is_blank
from tinygptv.ground.errors import DataError

_SORTED = """
    SELECT images.id, file, text FROM images LEFT JOIN captions ON captions.image = images.id
    ORDER BY images.rowid, captions.rowid
"""
_WITHOUT_IMAGE = "SELECT image, place FROM captions WHERE image NOT IN (SELECT id FROM images) LIMIT 1"


def read(source: Source) -> Iterator[Found | Rejection]:
    """The images with their captions."""
    return found(source, annotations(source.files, source.settings.part or ""))


def annotations(files: Sequence[Path], part: str) -> Iterator[Annotation | Rejection]:
    """The images of all files, in their order; one without a caption is left out.

    Raises:
        DataError: a file is damaged or has no captions, an id stands twice, a caption's image is not listed, or an
            image is of another split than ``part``, such as ``val2014``, by its name.
    """
    with closing(_opened()) as base:
        for path in files:
            before = base.total_changes
            for member, item in read_members(path):
                try:
                    if member == "images":
                        _add_image(base, item, part)
                    elif member == "annotations":
                        _add_caption(base, item)
                except UnicodeEncodeError:
                    raise DataError(f"{item.place} has half a character; save the file as UTF-8") from None
            if base.total_changes == before:
                raise DataError(f"{path} has neither `images` nor `annotations`; name a file of COCO's captions")
        base.execute("CREATE INDEX of_image ON captions (image)")
        for image, place in base.execute(_WITHOUT_IMAGE):
            raise DataError(f"{place}: its image {image[:50]} is not among `images`")
        for (image, file), rows in groupby(base.execute(_SORTED), key=itemgetter(0, 1)):
            captions = [text for *_, text in rows if text is not None]
            seen = Counter(text for text in captions if not is_blank(text))
            yield _annotation(image, file, captions, seen) if seen else {"id": image, "reason": "has no caption"}


def recognise(look: Look) -> Recognised | None:
    """JSON objects with `images`, and `annotations` that have a `caption`."""
    return recognised(look, "caption", "bbox", "captions")


def _opened() -> sqlite3.Connection:
    """A file without a name, which is gone when it is closed."""
    base = sqlite3.connect("", isolation_level=None)
    base.execute("PRAGMA journal_mode = OFF")
    base.execute("CREATE TABLE images (id TEXT UNIQUE, file TEXT)")
    base.execute("CREATE TABLE captions (image TEXT, text TEXT, place TEXT)")
    return base


def _add_image(base: sqlite3.Connection, item: JsonItem, part: str) -> None:
    content, place = content_of(item), item.place
    name, file = id_of(content, "id", place), value_of(content, "file_name", str, place)
    if part and (split := split_of_file(file)) and split != part:
        raise DataError(f"{place} is of {split}, not of {part}; name its file, or another part")
    if not base.execute("INSERT OR IGNORE INTO images VALUES (?, ?)", (name, file)).rowcount:
        raise DataError(f"{place}: the id {name} stands twice")


def _add_caption(base: sqlite3.Connection, item: JsonItem) -> None:
    content, place = content_of(item), item.place
    image, text = id_of(content, "image_id", place), value_of(content, "caption", str, place)
    base.execute("INSERT INTO captions VALUES (?, ?, ?)", (image, text, place))


def _annotation(image: str, file: str, captions: list[str], seen: Counter[str]) -> Annotation:
    answer = max(seen, key=seen.__getitem__)
    return Annotation(
        id=image,
        images=names_of_file(file),
        question="",
        answer=answer,
        accepted=tuple((text, float(weight)) for text, weight in seen.items()) if len(seen) > 1 else (),
        task="caption",
        truth={"answer": answer, "answers": captions},
    )

"""COCO's boxes: one object with the pictures, their categories and a box for each object (``instances_val2017.json``).

Of a picture become records: each category with all its boxes (`detection`), and each category that it has once the
way there and back (`refer`, `identify`). What belongs together may lie far apart in the file, so it is sorted on disk.

Source: Lin et al. 2014 (arXiv 1405.0312); cocodataset.org, "format of data". The texts are MiniGPT-v2's
(arXiv 2310.09478, section 3).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinygptv.data.boxes import Box, PixelBox, box_within, format_box, pixel_box
from tinygptv.data.coco import names_of_file, recognised
from tinygptv.data.conversations import rejection
from tinygptv.data.entries import content_of, id_of, size_of, value_of
from tinygptv.data.images import ImageError, size_as_seen
from tinygptv.data.json_items import JsonItem, read_members
from tinygptv.data.named_splits import NamedSplits
from tinygptv.data.recognise import Look, Recognised
from tinygptv.data.record_rules import MAX_BOXES, MAX_NAME, RecordError
from tinygptv.data.records import Record, Turn
from tinygptv.data.source import Found, ImageFile, Rejection, Source
from tinygptv.data.tasks import is_blank
from tinygptv.ground.errors import DataError

if TYPE_CHECKING:
    from tinygptv.config import Task

TASKS: tuple[Task, ...] = ("detection", "refer", "identify")
_TABLES = """
CREATE TABLE images (number INTEGER PRIMARY KEY, id TEXT UNIQUE, file TEXT, width INTEGER, height INTEGER, split TEXT);
CREATE TABLE categories (id TEXT UNIQUE, name TEXT);
CREATE TABLE objects (
    image TEXT, category TEXT, x REAL, y REAL, width REAL, height REAL, crowd INTEGER, place TEXT, problem TEXT
);
"""
_SORTED = """
    SELECT number, images.id, file, images.width, images.height, split,
    name, x, y, objects.width, objects.height, crowd, place, problem
    FROM images LEFT JOIN objects ON objects.image = images.id LEFT JOIN categories ON categories.id = objects.category
    ORDER BY number, categories.rowid, objects.rowid
"""


@dataclass(frozen=True, slots=True)
class _Picture:
    id: str
    file: str
    size: tuple[int, int]
    split: str


def read(source: Source) -> Iterator[Found | Rejection]:
    """The records of all pictures, in the order of the files; a box that is none is left out, and told.

    Raises:
        DataError: a file is damaged or of another form, an id stands twice, or a box is of no picture or category.
    """
    wanted = (source.settings.task,) if source.settings.task else TASKS
    if not set(wanted) <= set(TASKS):
        raise DataError(f"data set {source.name}: boxes become records of {', '.join(TASKS)}; name one as its `task`")
    with closing(_opened()) as base:
        splits = NamedSplits(source.files)
        for path in source.files:
            _add_file(base, path, splits.of(path))
        _check_known(base)
        rows = base.execute(_SORTED)
        for (_, *about), group in groupby(rows, key=itemgetter(0, 1, 2, 3, 4, 5)):
            picture = _Picture(about[0], about[1], (about[2], about[3]), about[4])
            yield from _of_picture(picture, [row[6:] for row in group if row[6] is not None], wanted, source)


def recognise(look: Look) -> Recognised | None:
    """JSON objects with `images`, and `annotations` that have a `bbox`; not those of bodies' joints."""
    return recognised(look, "bbox", "keypoints", "objects")


def _opened() -> sqlite3.Connection:
    """A file without a name, which is gone when it is closed."""
    base = sqlite3.connect("", isolation_level=None)
    base.execute("PRAGMA journal_mode = OFF")
    base.executescript(_TABLES)
    return base


def _add_file(base: sqlite3.Connection, path: Path, split: str) -> None:
    add = {"images": _add_image, "annotations": _add_object, "categories": _add_category}
    seen = set()
    base.execute("BEGIN")
    for member, item in read_members(path):
        if member in add:
            seen.add(member)
            try:
                add[member](base, item, split)
            except UnicodeEncodeError:
                raise DataError(f"{item.place} has half a character; save the file as UTF-8") from None
    base.execute("COMMIT")
    if lacking := [member for member in add if member not in seen]:
        raise DataError(f"{path} has no `{lacking[0]}`, or nothing in it; name a file of boxes in COCO's form")


def _add_image(base: sqlite3.Connection, item: JsonItem, split: str) -> None:
    content, place = content_of(item), item.place
    size = size_of(content, place)
    row = (id_of(content, "id", place), value_of(content, "file_name", str, place), *size, split)
    added = base.execute("INSERT OR IGNORE INTO images (id, file, width, height, split) VALUES (?, ?, ?, ?, ?)", row)
    if not added.rowcount:
        raise DataError(f"{place}: the id {row[0]} stands twice")


def _add_category(base: sqlite3.Connection, item: JsonItem, split: str) -> None:
    """Several files have the same ones; ids need not follow one another."""
    content, place = content_of(item), item.place
    number, name = id_of(content, "id", place), value_of(content, "name", str, place)
    if is_blank(name):
        raise DataError(f"{place}: `name` is empty")
    base.execute("INSERT OR IGNORE INTO categories VALUES (?, ?)", (number, name))
    if base.execute("SELECT name FROM categories WHERE id = ?", (number,)).fetchone()[0] != name:
        raise DataError(f"{place}: the id {number} has two names")


def _add_object(base: sqlite3.Connection, item: JsonItem, split: str) -> None:
    content, place = content_of(item), item.place
    ids = id_of(content, "image_id", place), id_of(content, "category_id", place)
    crowd = content.get("iscrowd", 0)
    box, problem = (0.0, 0.0, 0.0, 0.0), ""
    try:
        box = pixel_box(content.get("bbox"))
    except ValueError as error:
        problem = str(error)
    row = (*ids, *box, int(crowd in (1, True)), place, problem)
    base.execute("INSERT INTO objects VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)


def _check_known(base: sqlite3.Connection) -> None:
    base.execute("CREATE INDEX of_image ON objects (image)")
    for key, table in (("image", "images"), ("category", "categories")):
        unknown = f"SELECT place, {key} FROM objects WHERE {key} NOT IN (SELECT id FROM {table}) LIMIT 1"  # noqa: S608
        for place, name in base.execute(unknown):
            raise DataError(f"{place}: its {key} {name} is not among `{table}`")


def _of_picture(
    picture: _Picture, objects: list[tuple[Any, ...]], wanted: Sequence[Task | None], source: Source
) -> Iterator[Found | Rejection]:
    """The records of a picture, category by category."""
    try:
        image = _image(picture, source)
    except RecordError as error:
        yield rejection(picture.id, error.reason)
        return
    if not objects:
        yield rejection(picture.id, "has no box")
    for name, group in groupby(objects, key=itemgetter(0)):
        listed = list(group)
        boxes: list[Box] = []
        for _, left, top, wide, high, crowd, place, problem in listed:
            if crowd:
                continue
            try:
                boxes.append(_box((left, top, wide, high), picture.size, problem))
            except RecordError as error:
                yield rejection(place, error.reason)
        once = len(listed) == 1
        yield from _records(f"{picture.id}-{name}", name, list(dict.fromkeys(boxes)), once, wanted, image, picture)


def _records(
    key: str,
    name: str,
    boxes: list[Box],
    once: bool,
    wanted: Sequence[Task | None],
    image: ImageFile,
    picture: _Picture,
) -> Iterator[Found | Rejection]:
    if len(boxes) > MAX_BOXES:
        yield rejection(key, f"has {len(boxes)} boxes of {name}; {MAX_BOXES} are the most")
        return
    if not boxes:
        return
    places = [format_box(box) for box in boxes]
    turns = {
        "detection": Turn(name, f"<p>{name}</p> {'<delim>'.join(places)}"),
        "refer": Turn(name, places[0]),
        "identify": Turn(places[0], name),
    }
    for task in TASKS:
        if task in wanted and (once or task == "detection"):
            record = Record(f"{key}-{task}", task, (turns[task],), tuple(boxes))
            yield Found(record, image, picture.split)


def _box(bbox: PixelBox, size: tuple[int, int], problem: str) -> Box:
    """What of a box lies in its picture, in hundredths."""
    if problem:
        raise RecordError(problem, "")
    if not bbox[2] or not bbox[3]:
        raise RecordError("its bbox has no area", "")
    if (box := box_within(bbox, size)) is None:
        raise RecordError(f"nothing of its bbox lies in the picture of {size[0]} x {size[1]} pixels", "")
    return box


def _image(picture: _Picture, source: Source) -> ImageFile:
    """The picture, which must have the size that its boxes are of."""
    found = (file for name in names_of_file(picture.file) if (file := source.image(name)) is not None)
    if (image := next(found, None)) is None:
        raise RecordError(f"its picture {picture.file[:MAX_NAME]!r} is not below {source.settings.images}", "")
    try:
        size = size_as_seen(image.read())
    except ImageError as error:
        raise RecordError(error.reason, "") from None
    if size != picture.size:
        told = "lies on its side in the file" if size == picture.size[::-1] else "is of another size"
        raise RecordError(
            f"its picture {told}: as seen it has {size[0]} x {size[1]} pixels, and its boxes are of "
            f"{picture.size[0]} x {picture.size[1]}",
            "",
        )
    return image

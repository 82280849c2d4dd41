"""Visual Genome's regions, a phrase and a box each: ``region_descriptions.json`` with its ``image_data.json``.

Regions of 16,384 pixels or more are not asked for, as MiniGPT-v2 and TinyGPT-V have it from OFA (``vg_dataset.py``).
There are 5.4 million regions, of which those of one picture are in memory; of the pictures all are, as one text each.

Source: Krishna et al. 2017 (arXiv 1602.07332), https://homes.cs.washington.edu/~ranjay/visualgenome/api.html.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from tinygptv.data.annotations import Annotation, annotated, found, left_out
from tinygptv.data.boxes import box_within, format_box, pixel_box
from tinygptv.data.entries import content_of, id_of, size_of, value_of
from tinygptv.data.json_items import JsonItem, read_items
from tinygptv.data.record_rules import MAX_NAME
from tinygptv.data.source import Found, Rejection, Source
from tinygptv.data.tables import JSON_FILES, record_files
from tinygptv.ground.errors import DataError, complain

if TYPE_CHECKING:
    from tinygptv.config import Task

LARGEST = 16_384
"""Pixels of a region, from which on it is not asked for."""
LOOKED_AT = 20
"""Entries by which the two files are told apart: the first may be broken."""
SIDES = ("x", "y", "width", "height")


def read(source: Source) -> Iterator[Found | Rejection]:
    """The regions of all pictures, as records of `refer`, or of `identify` where this is the data set's task.

    Raises:
        DataError: one of the two files is missing, damaged or of another form.
    """
    task = source.settings.task or "refer"
    if task not in ("refer", "identify"):
        raise DataError(f"data set {source.name}: regions become records of refer or identify; name one as its `task`")
    regions, images = _told_apart(record_files(source, JSON_FILES))
    make = partial(_region, _pictures(images), images.name, task)
    return found(source, annotated(_regions(regions, source.name), make))


def _told_apart(files: Sequence[Path]) -> tuple[Path, Path]:
    """The file of the regions and that of the pictures, by their first entries."""
    at: dict[str, Path] = {}
    for path in files:
        first = [item.content for item in islice(read_items(path), LOOKED_AT)]
        keys = {key for content in first if isinstance(content, dict) for key in content}
        for key in ("regions", "url"):
            if key in keys and at.setdefault(key, path) != path:
                raise DataError(f"{at[key]} and {path} both have `{key}`; name one of them")
    for key, name in (("regions", "region_descriptions.json"), ("url", "image_data.json")):
        if key not in at:
            raise DataError(f"no file has entries with `{key}`; name Visual Genome's {name} in `files`")
    return at["regions"], at["url"]


def _pictures(path: Path) -> dict[str, str]:
    """Id of a picture → its width, height and file, such as ``800 600 VG_100K_2/1.jpg``: a text needs least memory."""
    known = {}
    for item in read_items(path):
        content, place = content_of(item), item.place
        name = id_of(content, "image_id" if "image_id" in content else "id", place)
        width, height = size_of(content, place)
        address = PurePosixPath(value_of(content, "url", str, place))
        known[name] = f"{width} {height} {address.parent.name}/{address.name}"
    return known


def _regions(path: Path, dataset: str) -> Iterator[JsonItem]:
    """The regions that are asked for, those of a picture after those of another."""
    large = 0
    for item in read_items(path):
        try:
            listed = value_of(content_of(item), "regions", list, item.place)
        except DataError as error:
            yield JsonItem(item.place, None, left_out(item, error)["reason"])
            continue
        for number, region in enumerate(listed, start=1):
            if _is_large(region):
                large += 1
            else:
                yield JsonItem(f"{item.place}, region {number}", region)
    if large:
        complain(dataset, f"{large:,} regions have {LARGEST:,} pixels or more, and are not asked for")


def _is_large(region: Any) -> bool:
    try:
        _, _, width, height = pixel_box([region.get(side) for side in SIDES] if isinstance(region, dict) else None)
    except ValueError:
        return False  # what is wrong with it is told where it is read
    return width * height >= LARGEST


def _region(pictures: dict[str, str], told: str, task: Task, region: dict[str, Any], place: str) -> Annotation:
    name, image = (id_of(region, key, place) for key in ("region_id", "image_id"))
    if image not in pictures:
        raise DataError(f"{place}: its picture {image[:MAX_NAME]} is not in {told}")
    width, height, file = pictures[image].split(" ", 2)
    try:
        bbox = pixel_box([region.get(side) for side in SIDES])
    except ValueError as error:
        raise DataError(f"{place}: of `x`, `y`, `width`, `height`: {error}") from None
    if (box := box_within(bbox, (int(width), int(height)))) is None:
        raise DataError(f"{place}: nothing of it lies in its picture of {width} x {height} pixels")
    phrase, where = value_of(region, "phrase", str, place), format_box(box)
    question, answer = (phrase, where) if task == "refer" else (where, phrase)
    return Annotation(
        id=name,
        images=(file, PurePosixPath(file).name),
        question=question,
        answer=answer,
        task=task,
        boxes=(box,),
    )

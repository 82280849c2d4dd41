"""LAVIS's lists of questions: VQA v2 (``vqa_train.json``), OK-VQA (``okvqa_train.json``), GQA and their like.

Source: github.com/salesforce/LAVIS, ``lavis/datasets/datasets/vqa_datasets.py``; drawn from as MiniGPT-v2 and TinyGPT-V
do (``coco_vqa_datasets.py``): one of the people's answers, each as often as it was given.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from tinygptv.data.annotations import Annotation, annotated, found
from tinygptv.data.coco import names_of_file, split_of_file
from tinygptv.data.entries import id_of, value_of
from tinygptv.data.json_items import JsonItem, first_character, read_items
from tinygptv.data.people import answers_of, asked
from tinygptv.data.source import Found, Rejection, Source
from tinygptv.data.tables import JSON_FILES, record_files
from tinygptv.ground.errors import DataError, complain
from tinygptv.ground.tables import some

OTHERS = "VQA's own two files are the form vqa, GQA's own file is the form gqa"


def read(source: Source) -> Iterator[Found | Rejection]:
    """The questions of all files; with a `part` those whose image lies in the folder of this name.

    Raises:
        DataError: a file is no list or has no answers, or no image lies in the folder `part`.
    """
    return found(source, annotated(_entries(source), _question))


def _entries(source: Source) -> Iterator[JsonItem]:
    """Those of the part; one that names no image is of every part, and is left out later."""
    part, folders = source.settings.part, Counter[str | None]()
    for path in record_files(source, JSON_FILES):
        for item in _items(path):
            folder = _folder(item) if part else None
            folders[folder] += 1
            if folder in (part, None):
                yield item
    others = folders.keys() - {part, None}
    if others and not folders[part]:
        there = some(sorted(name or "no folder" for name in others if name is not None))
        raise DataError(f"data set {source.name}: no image of its files is in {part}, but in {there}; correct `part`")
    if left := sum(folders[name] for name in others):
        complain(source.name, f"{left:,} questions are about images that are not in {part}, its `part`")


def _items(path: Path) -> Iterator[JsonItem]:
    """The entries of a file.

    Raises:
        DataError: it is no list, or none of them has an answer.
    """
    if first_character(path) == "{":
        raise DataError(f"{path} is no list, as LAVIS's are; VQA's own files are the form vqa, GQA's own the form gqa")
    seen = answered = 0
    for item in read_items(path):
        seen += 1
        answered += isinstance(item.content, dict) and "answer" in item.content
        yield item
    if seen and not answered:
        raise DataError(f"{path}: no entry has an `answer`, as in files of a test split; name that of train or val")


def _folder(item: JsonItem) -> str | None:
    """The folder that an image lies in by its name, of COCO's its split; empty: it says none. None: it has no name."""
    image = item.content.get("image") if isinstance(item.content, dict) else None
    return split_of_file(image) or PurePosixPath(image).parent.name if isinstance(image, str) else None


def _question(content: dict[str, Any], place: str) -> Annotation:
    question, image = (value_of(content, key, str, place) for key in ("question", "image"))
    name = id_of(content, "question_id", place) if "question_id" in content else PurePosixPath(image).stem
    if isinstance(content.get("answer"), str):
        return Annotation(id=name, images=names_of_file(image), question=question, answer=content["answer"])
    said = answers_of(content, "answer", place)
    # All that a metric would need of the votes is `accepted` already.
    return replace(asked(question, name=name, images=names_of_file(image), said=said), truth={})

"""OCR-VQA: questions about the covers of books, one object with a member for each book (``dataset.json``).

Every question is a record of its own, as the authors train on it (``ocrvqa_dataset.py``): a book with six questions is
drawn six times as often as one with a single one. Where they go on to the next question if a cover is missing, here the
questions of the missing one are left out and counted.

Source: Mishra et al. 2019, https://ocr-vqa.github.io.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import PurePosixPath

from tinygptv.data.annotations import Annotation, found, left_out
from tinygptv.data.entries import content_of, part_of, value_of
from tinygptv.data.json_items import JsonItem, read_members
from tinygptv.data.source import Found, Rejection, Source
from tinygptv.data.tables import JSON_FILES, record_files
from tinygptv.ground.errors import DataError

SPLITS = {1: "train", 2: "val", 3: "test"}
"""What the `split` of a book means."""


def read(source: Source) -> Iterator[Found | Rejection]:
    """The questions of all books, each in the split of its book; with a `part` those of this split alone.

    Raises:
        DataError: a file is no object of books, there is no such part, or no book is of it.
    """
    part, seen = source.settings.part, Counter[str]()
    if part is not None:
        part_of(part, SPLITS.values())
    for path in record_files(source, JSON_FILES):
        for name, item in read_members(path):
            try:
                split, asked = _book(name, item)
            except DataError as error:
                yield left_out(item, error)
                continue
            seen[split] += 1
            for record in found(source, asked if part in (None, split) else ()):
                yield record if part or isinstance(record, dict) else replace(record, split=split)
    if part and not seen[part]:
        raise DataError(f"data set {source.name}: no book is of the split {part}, but of {', '.join(seen) or 'none'}")


def _book(name: str, item: JsonItem) -> tuple[str, list[Annotation]]:
    """The split of a book, and its questions, numbered from 1."""
    content, place = content_of(item), item.place
    split = value_of(content, "split", int, place)
    if split not in SPLITS:
        raise DataError(f"{place}: `split` must be 1 (train), 2 (val) or 3 (test), not {split}")
    questions, answers = (value_of(content, key, list, place) for key in ("questions", "answers"))
    if len(questions) != len(answers):
        raise DataError(f"{place} has {len(questions)} questions and {len(answers)} answers")
    if not all(isinstance(text, str) for text in (*questions, *answers)):
        raise DataError(f"{place}: a question or an answer is no text")
    images = _images(name, value_of(content, "imageURL", str, place))
    pairs = enumerate(zip(questions, answers, strict=True), start=1)
    return SPLITS[split], [
        Annotation(id=f"{name}-{number}", images=images, question=question, answer=answer)
        for number, (question, answer) in pairs
    ]


def _images(name: str, address: str) -> tuple[str, ...]:
    """The cover's file: the book's name with the ending of its address, or with ``.jpg``, as some save all of them."""
    return tuple(dict.fromkeys((f"{name}{PurePosixPath(address.partition('?')[0]).suffix}", f"{name}.jpg")))

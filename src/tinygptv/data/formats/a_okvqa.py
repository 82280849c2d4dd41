"""A-OKVQA's file: questions that need knowledge, with direct answers and four choices, as ``aokvqa_v1p0_val.json``.

Source: github.com/allenai/aokvqa. The images are COCO's of 2017.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tinygptv.data.annotations import Annotation, annotated, found
from tinygptv.data.coco import names_of_file
from tinygptv.data.entries import Ids, checked_split, content_of, id_of, is_trained, only_file, value_of
from tinygptv.data.json_items import JsonItem, read_items
from tinygptv.data.people import answers_of, asked, image_of
from tinygptv.data.source import Found, Rejection, Source
from tinygptv.ground.errors import DataError

PARTS = ("val", "train", "test")


def annotations(files: Sequence[Path], part: str) -> Iterator[Annotation | Rejection]:
    """The questions in the order of their file.

    Args:
        files: the file, or one of each split.
        part: the split; empty: that of the only file, else ``val``.

    Raises:
        DataError: the file is of another split or form, or an entry is broken.
    """
    ids = Ids()
    for item in _entries(files, part):
        found = _annotation(content_of(item), item.place)
        ids.add(found.id, item.place)
        yield found


def read(source: Source) -> Iterator[Found | Rejection]:
    """The questions with their images; of `train`, one that is broken is left out.

    Raises:
        DataError: as ``annotations``.
    """
    part = source.settings.part or ""
    if is_trained(part):
        return found(source, annotated(_entries(source.files, part), _annotation))
    return found(source, annotations(source.files, part))


def _entries(files: Sequence[Path], part: str) -> Iterator[JsonItem]:
    """The entries of the file of a split.

    Raises:
        DataError: one says that it is of another split.
    """
    path = only_file(files, part, PARTS)
    for item in read_items(path):
        if isinstance(item.content, dict):
            checked_split(item.content.get("split"), part, path)
        yield item


def _annotation(content: dict[str, Any], place: str) -> Annotation:
    choices: list[Any] = value_of(content, "choices", list, place)
    right = value_of(content, "correct_choice_idx", int, place)
    if not all(isinstance(choice, str) for choice in choices) or not 0 <= right < len(choices):
        raise DataError(f"{place}: `correct_choice_idx` must be the place of a text in `choices`, from 0 on")
    split, file = content.get("split"), content.get("image")  # LAVIS's copy has the file
    by_number = image_of(content, f"{split}2017" if isinstance(split, str) and split else "")
    return asked(
        value_of(content, "question", str, place),
        name=id_of(content, "question_id", place),
        images=names_of_file(file) if isinstance(file, str) else by_number,
        said=answers_of(content, "direct_answers", place),
        choices=choices,
        right=right,
        difficult=content.get("difficult_direct_answer") is True,
    )

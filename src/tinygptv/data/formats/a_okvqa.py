"""A-OKVQA's file: questions that need knowledge, with direct answers and four choices, as ``aokvqa_v1p0_val.json``.

Source: github.com/allenai/aokvqa. The images are COCO's of 2017.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tinygptv.data.annotations import Annotation, found
from tinygptv.data.entries import Ids, checked_split, content_of, id_of, only_file, value_of
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
    path = only_file(files, part, PARTS)
    ids = Ids()
    for item in read_items(path):
        yield _annotation(item, part, path, ids)


def read(source: Source) -> Iterator[Found | Rejection]:
    """The questions with their images.

    Raises:
        DataError: as ``annotations``.
    """
    yield from found(source, annotations(source.files, source.settings.part or ""))


def _annotation(item: JsonItem, part: str, path: Path, ids: Ids) -> Annotation:
    content, place = content_of(item), item.place
    split = checked_split(content.get("split"), part, path)
    choices: list[Any] = value_of(content, "choices", list, place)
    right = value_of(content, "correct_choice_idx", int, place)
    if not all(isinstance(choice, str) for choice in choices) or not 0 <= right < len(choices):
        raise DataError(f"{place}: `correct_choice_idx` must be the place of a text in `choices`, from 0 on")
    return asked(
        value_of(content, "question", str, place),
        name=ids.add(id_of(content, "question_id", place), place),
        images=image_of(content, f"{split}2017" if split else ""),
        said=answers_of(content, "direct_answers", place),
        choices=choices,
        right=right,
        difficult=content.get("difficult_direct_answer") is True,
    )

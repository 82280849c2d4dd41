"""POPE: whether an object is in an image of COCO (Li et al. 2023; ``output/coco`` of github.com/AoiDragon/POPE).

The three parts differ in how absent objects are chosen. Older releases have 2,910 random questions.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from tinygptv.data.annotations import Annotation, found
from tinygptv.data.coco import names_of_file
from tinygptv.data.entries import Ids, content_of, file_of, id_of, value_of
from tinygptv.data.json_items import read_items
from tinygptv.data.source import Found, Rejection, Source
from tinygptv.ground.errors import DataError

PARTS = ("adversarial", "popular", "random")


def read(source: Source) -> Iterator[Found | Rejection]:
    """The questions with their images."""
    return found(source, annotations(source.files, source.settings.part or ""))


def annotations(files: Sequence[Path], part: str) -> Iterator[Annotation]:
    """The questions of a part.

    Raises:
        DataError: there is no file of it, or it is damaged or without labels.
    """
    ids = Ids()
    for item in read_items(file_of(files, part, PARTS)):
        content, place = content_of(item), item.place
        label = value_of(content, "label", str, place)
        if label not in ("yes", "no"):
            raise DataError(f"{place}: `label` must be yes or no, not {label[:50]!r}")
        yield Annotation(
            id=ids.add(id_of(content, "question_id", place), place),
            images=names_of_file(value_of(content, "image", str, place)),
            question=value_of(content, "text", str, place),
            answer=label,
            truth={"answer": label},
        )

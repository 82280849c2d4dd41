"""VizWiz's file: a question about each picture of a blind person, with ten answers, and whether it can be answered.

Source: https://vizwiz.org/tasks-and-datasets/vqa/. Predictions name the picture.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from tinygptv.data.annotations import Annotation, found
from tinygptv.data.entries import Ids, checked_split, content_of, only_file, value_of
from tinygptv.data.json_items import JsonItem, read_items
from tinygptv.data.people import answers_of, asked
from tinygptv.data.source import Found, Rejection, Source
from tinygptv.ground.errors import DataError

PARTS = ("val", "train", "test")
_SPLIT = re.compile(r"VizWiz_(?:v2_)?([a-z]+)_\d+")


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
    """The questions with their pictures.

    Raises:
        DataError: as ``annotations``.
    """
    yield from found(source, annotations(source.files, source.settings.part or ""))


def _annotation(item: JsonItem, part: str, path: Path, ids: Ids) -> Annotation:
    content, place = content_of(item), item.place
    image = value_of(content, "image", str, place)
    told = _SPLIT.match(image)
    checked_split(told and told[1], part, path)
    if (answerable := content.get("answerable")) not in (0, 1, None):
        raise DataError(f"{place}: `answerable` must be 0 or 1, not {str(answerable)[:50]!r}")
    kind = {"answer_type": value_of(content, "answer_type", str, place)} if "answer_type" in content else {}
    label = {} if answerable is None else {"answerable": int(answerable)}
    return asked(
        value_of(content, "question", str, place),
        name=ids.add(image, place),
        images=(image,),
        said=answers_of(content, "answers", place),
        **kind,
        **label,
    )

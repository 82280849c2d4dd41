"""GQA's balanced questions, id → question (Hudson and Manning 2019; questions1.2.zip of gqadataset.org)."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tinygptv.data.annotations import Annotation, found, left_out
from tinygptv.data.entries import Ids, content_of, file_of, id_of, is_trained, value_of
from tinygptv.data.json_items import read_members
from tinygptv.data.source import Found, Rejection, Source
from tinygptv.ground.errors import DataError

PARTS = ("testdev_balanced", "val_balanced", "train_balanced")


def read(source: Source) -> Iterator[Found | Rejection]:
    """The questions with their images, ``<imageId>.jpg``."""
    return found(source, annotations(source.files, source.settings.part or ""))


def annotations(files: Sequence[Path], part: str) -> Iterator[Annotation | Rejection]:
    """The questions of a part; of the one that is trained on, one that is broken is left out.

    Raises:
        DataError: there is no file of it, or it is damaged, of another split or without answers.
    """
    path, ids = file_of(files, part, PARTS), Ids()
    for name, item in read_members(path):
        if isinstance(item.content, dict) and item.content.get("isBalanced") is False:
            raise DataError(f"{item.place} is not of the balanced questions, which alone are counted; name their file")
        try:
            if not is_trained(part):  # of a million the ids would need more memory than all else
                ids.add(name, item.place)
            yield _annotation(name, content_of(item), item.place)
        except DataError as error:
            if not is_trained(part):
                raise
            yield left_out(item, error)


def _annotation(name: str, content: dict[str, Any], place: str) -> Annotation:
    types = content.get("types")
    structural = types.get("structural", "") if isinstance(types, dict) else ""
    answer = value_of(content, "answer", str, place)
    return Annotation(
        id=name,
        images=(f"{id_of(content, 'imageId', place)}.jpg",),
        question=value_of(content, "question", str, place),
        answer=answer,
        truth={"answer": answer, "structural": structural},
    )

"""GQA's balanced questions, id → question (Hudson and Manning 2019; questions1.2.zip of gqadataset.org)."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from tinygptv.data.annotations import Annotation, found
from tinygptv.data.entries import Ids, content_of, file_of, id_of, value_of
from tinygptv.data.json_items import read_members
from tinygptv.data.source import Found, Rejection, Source
from tinygptv.ground.errors import DataError

PARTS = ("testdev_balanced", "val_balanced", "train_balanced")


def read(source: Source) -> Iterator[Found | Rejection]:
    """The questions with their images, ``<imageId>.jpg``."""
    return found(source, annotations(source.files, source.settings.part or ""))


def annotations(files: Sequence[Path], part: str) -> Iterator[Annotation]:
    """The questions of a part.

    Raises:
        DataError: there is no file of it, or it is damaged, of another split or without answers.
    """
    path, ids = file_of(files, part, PARTS), Ids()
    for name, item in read_members(path):
        content, place = content_of(item), item.place
        if content.get("isBalanced") is False:
            raise DataError(f"{place} is not of the balanced questions, which alone are counted; name their file")
        types = content.get("types")
        structural = types.get("structural", "") if isinstance(types, dict) else ""
        answer = value_of(content, "answer", str, place)
        yield Annotation(
            id=ids.add(name, place),
            images=(f"{id_of(content, 'imageId', place)}.jpg",),
            question=value_of(content, "question", str, place),
            answer=answer,
            truth={"answer": answer, "structural": structural},
        )

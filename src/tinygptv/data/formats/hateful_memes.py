"""Hateful Memes: images with a text, hateful or not (Kiela et al. 2020).

The ``*_seen`` files are those of the challenge's first phase, also released as ``dev`` and ``test``; the ``*_unseen``
files are those of its second.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from tinygptv.data.annotations import Annotation, found
from tinygptv.data.entries import Ids, content_of, file_of, id_of, label_of, value_of
from tinygptv.data.json_items import read_items
from tinygptv.data.source import Found, Rejection, Source

PARTS = ("dev_seen", "dev_unseen", "test_seen", "test_unseen", "dev", "test", "train")
ANSWERS = ("no", "yes")
"""Of the labels 0 and 1."""


def read(source: Source) -> Iterator[Found | Rejection]:
    """The memes with their images."""
    return found(source, annotations(source.files, source.settings.part or ""))


def annotations(files: Sequence[Path], part: str) -> Iterator[Annotation]:
    """The memes of a part.

    Raises:
        DataError: there is no file of it, or it is damaged or without labels, as the old ``test`` is.
    """
    ids = Ids()
    for item in read_items(file_of(files, part, PARTS)):
        content, place = content_of(item), item.place
        name = ids.add(id_of(content, "id", place), place)
        answer, text = ANSWERS[label_of(content, "label", place)], value_of(content, "text", str, place)
        image = value_of(content, "img", str, place)
        yield Annotation(
            id=name,
            images=(image, PurePosixPath(image).name),
            question=f"This image says '{text}'. Is it hateful?",
            answer=answer,
            truth={"answer": answer, "text": text},
        )

"""Visual Spatial Reasoning: statements about COCO images that are true or false (Liu, Emerson and Collier 2023).

The zero-shot split of github.com/cambridgeltl/visual-spatial-reasoning; a statement's id is its line, from 0.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from tinygptv.data.annotations import Annotation, found
from tinygptv.data.coco import names_of_file
from tinygptv.data.entries import content_of, file_of, label_of, value_of
from tinygptv.data.json_items import read_items
from tinygptv.data.source import Found, Rejection, Source

PARTS = ("test", "dev", "train")
ANSWERS = ("false", "true")
"""Of the labels 0 and 1."""


def read(source: Source) -> Iterator[Found | Rejection]:
    """The statements with their images, which lie in one folder or in those of COCO 2017."""
    return found(source, annotations(source.files, source.settings.part or ""))


def annotations(files: Sequence[Path], part: str) -> Iterator[Annotation]:
    """The statements of a part.

    Raises:
        DataError: there is no file of it, or it is damaged or without labels.
    """
    for number, item in enumerate(read_items(file_of(files, part, PARTS))):
        content, place = content_of(item), item.place
        label, caption = label_of(content, "label", place), value_of(content, "caption", str, place)
        image = value_of(content, "image", str, place)
        relation = value_of({"relation": "", **content}, "relation", str, place)
        yield Annotation(
            id=str(number),
            images=names_of_file(image),
            question=f"Is this statement true or false? {caption}",
            answer=ANSWERS[label],
            truth={"answer": ANSWERS[label], "caption": caption, "relation": relation},
        )

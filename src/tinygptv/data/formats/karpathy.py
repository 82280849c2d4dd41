"""COCO's captions by Karpathy's split, as LAVIS has them: ``coco_karpathy_train.json``, a caption an entry.

In the files of its other parts an entry has the captions of an image: one record, of whose answers each is right.

Source: https://storage.googleapis.com/sfr-vision-language-research/datasets/coco_karpathy_train.json; Karpathy and
Fei-Fei 2015 (arXiv 1412.2306). The paper trains on the images of train2014 alone (``part: train``): a quarter of the
file's are of val2014, and are asked about by benchmarks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from tinygptv.data.annotations import Annotation, annotated, found
from tinygptv.data.coco import names_of_file, split_of_file
from tinygptv.data.entries import id_of, value_of
from tinygptv.data.json_items import JsonItem, read_items
from tinygptv.data.recognise import Recognised, folder_of_pictures, object_files
from tinygptv.data.source import Found, Rejection, Source
from tinygptv.data.tables import JSON_FILES, record_files
from tinygptv.data.tasks import is_blank
from tinygptv.ground.errors import DataError

if TYPE_CHECKING:
    from tinygptv.data.recognise import Look

KEYS = frozenset({"image", "caption", "image_id"})


def read(source: Source) -> Iterator[Found | Rejection]:
    """The captions with their images; of a part, those whose image's path names it.

    Raises:
        DataError: a file is damaged or no list, or nothing is of the part.
    """
    return found(source, annotated(_entries(source), _captions))


def recognise(look: Look) -> Recognised | None:
    """A list of `image` and `caption`, where the images have COCO's names, and ids or several captions."""
    files = object_files(look, JSON_FILES, lambda entries: all(map(_fits, entries)))
    if not files:
        return None
    file, entries = next(iter(files.items()))
    return Recognised(
        why=f"the entries of {file.name} have `image`, with a name of COCO's, and `caption`, as Karpathy's split",
        files=tuple(files),
        images=folder_of_pictures(look, file, [entry["image"] for entry in entries]),
    )


def _fits(entry: dict[str, Any]) -> bool:
    image, several = entry.get("image"), isinstance(entry.get("caption"), list)
    own = entry.keys() == KEYS or (several and entry.keys() <= KEYS)
    return own and isinstance(image, str) and split_of_file(image) != ""


def _entries(source: Source) -> Iterator[JsonItem]:
    """Those of the part; one that names no image is of every part, and is left out later."""
    part, found = source.settings.part or "", False
    for path in record_files(source, JSON_FILES):
        for item in read_items(path):
            image = item.content.get("image") if isinstance(item.content, dict) else None
            if not part or not isinstance(image, str) or part in image:
                found = True
                yield item
    if part and not found:
        raise DataError(f"data set {source.name}: no image's path has {part!r}, the part that is named; leave it out")


def _captions(content: dict[str, Any], place: str) -> Annotation:
    image = value_of(content, "image", str, place)
    given = content.get("caption")
    captions = given if isinstance(given, list) else [value_of(content, "caption", str, place)]
    if not all(isinstance(text, str) for text in captions):
        raise DataError(f"{place}: `caption` must be a text or a list of texts")
    votes = Counter(text for text in captions if not is_blank(text)).most_common()
    if not votes:
        raise DataError(f"{place}: `caption` is empty")
    return Annotation(
        id=id_of(content, "image_id", place) if "image_id" in content else PurePosixPath(image).stem,
        images=names_of_file(image),
        question="",
        answer=votes[0][0],
        accepted=tuple((text, float(times)) for text, times in votes) if len(votes) > 1 else (),
        task="caption",
    )

"""Referring expressions: a folder of REFER's own files, or MiniGPT-4's JSON, of which each file is one split.

REFER's pickle of expressions (``refs(unc).p``) names the boxes of its ``instances.json``. It is read by a program of
its own (``data/unpickle_refs.py``), and of both only what the split needs stays in memory.

Source: ``refer.py`` of github.com/lichengunc/refer; ``eval_scripts/eval_ref.py`` of github.com/Vision-CAIR/MiniGPT-4.
"""

import codecs
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tinygptv.data import unpickle_refs
from tinygptv.data.annotations import Annotation, found
from tinygptv.data.boxes import format_box, hundredths, pixel_box
from tinygptv.data.coco import names_of_file
from tinygptv.data.entries import Ids, content_of, file_of, id_of, value_of
from tinygptv.data.json_items import read_items, read_members
from tinygptv.data.source import Found, Rejection, Source
from tinygptv.ground.errors import DataError
from tinygptv.ground.files import require_room, scratch_folder
from tinygptv.ground.strangers import read_apart

PARTS = ("val", "testA", "testB", "test", "train")
"""Splits of REFER's files, the one that is read where none is named first."""
READER = Path(unpickle_refs.__file__)
ORIGINAL = "google"
"""REFER's folders have two pickles: the splits that are published about, and those of the first authors."""
FILE_NAME = 27
"""Characters of an ``img_id`` of MiniGPT-4's that are the file's name: ``COCO_train2014_000000581857``."""


def read(source: Source) -> Iterator[Found | Rejection]:
    """The expressions with their images."""
    return found(source, annotations(source.files, source.settings.part or ""))


def annotations(files: Sequence[Path], part: str) -> Iterator[Annotation]:
    """The expressions of a split, in the order of the files.

    Raises:
        DataError: a file is missing, damaged, of another split or holds code, or an entry lacks something.
    """
    part = part or PARTS[0]
    begins = {path: _begin(path) for path in files}
    pickles = [path for path, begin in begins.items() if path.suffix == ".p" or begin in (b"\x80", b"(", b"]")]
    objects = [path for path, begin in begins.items() if begin == b"{" and path not in pickles]
    if pickles:
        return _of_refer(_expressions(pickles), _instances(objects, pickles[0]), part)
    return _of_list(file_of([path for path, begin in begins.items() if begin == b"["], part, PARTS))


def _of_refer(path: Path, instances: Path, part: str) -> Iterator[Annotation]:
    refs = _refs_of(path, part)
    images: dict[str, dict[str, Any]] = {id_of(ref, "image_id", place): {} for place, ref in refs}
    boxes: dict[str, tuple[str, Any]] = {id_of(ref, "ann_id", place): ("", None) for place, ref in refs}
    for member, item in read_members(instances):
        if member in ("images", "annotations"):
            content = content_of(item)
            name = id_of(content, "id", item.place)
            if member == "images" and name in images:
                images[name] = {**content, "place": item.place}
            elif member == "annotations" and name in boxes:
                boxes[name] = item.place, content.get("bbox")
    ids = Ids()
    for place, ref in refs:
        (at, bbox), image = boxes[str(ref["ann_id"])], images[str(ref["image_id"])]
        if not at or not image:
            missing = f"image {ref['image_id']}" if at else f"annotation {ref['ann_id']}"
            raise DataError(f"{place}: its {missing} is not in {instances}")
        names = names_of_file(value_of(image, "file_name", str, image["place"]))
        for sentence in value_of(ref, "sentences", list, place):
            name = ids.add(id_of(sentence, "sent_id", place), place)
            expression = value_of(sentence, "sent", str, place)
            yield _annotation(name, names, expression, bbox, at, image, image["place"])


def _refs_of(path: Path, part: str) -> list[tuple[str, dict[str, Any]]]:
    """The objects of a split, each with its place."""
    refs, splits = [], Counter[str]()
    with scratch_folder() as folder:
        require_room(folder, path.stat().st_size)
        plain = folder / "refs.jsonl"
        fix = "fetch it again (github.com/lichengunc/refer)"
        read_apart(READER, path, plain, refused=DataError, fix=fix)
        for number, item in enumerate(read_items(plain) if plain.stat().st_size else (), start=1):
            place, ref = f"{path.name}, entry {number}", content_of(item)
            split = value_of(ref, "split", str, place)
            splits[split] += 1
            if split == part:
                refs.append((place, ref))
    if not refs:
        raise DataError(f"{path} has nothing of the split {part}; it has {', '.join(splits) or 'no expressions'}")
    return refs


def _of_list(path: Path) -> Iterator[Annotation]:
    """MiniGPT-4's list. Its ids need not differ: later ones are numbered, as in ``COCO_…_1#2``."""
    times = Counter[str]()
    for item in read_items(path):
        content, place = content_of(item), item.place
        image = id_of(content, "img_id", place)
        names = names_of_file(f"{image[:FILE_NAME]}.jpg")
        expressions = [content["sents"]] if isinstance(content.get("sents"), str) else _texts(content, place)
        for expression in expressions:
            times[image] += 1
            name = image if times[image] == 1 else f"{image}#{times[image]}"
            yield _annotation(name, names, expression, content.get("bbox"), place, content, place)


def _texts(content: dict[str, Any], place: str) -> list[str]:
    texts = value_of(content, "sents", list, place)
    if not texts or not all(isinstance(text, str) for text in texts):
        raise DataError(f"{place}: `sents` must be a text or a list of texts")
    return texts


def _annotation(
    name: str, names: tuple[str, ...], expression: str, bbox: Any, place: str, image: dict[str, Any], of_image: str
) -> Annotation:
    width, height = (value_of(image, side, int, of_image) for side in ("width", "height"))
    try:
        left, top, wide, high = pixel_box(bbox)
    except ValueError as error:
        raise DataError(f"{place}: {error}") from None
    seen = (max(0.0, left), max(0.0, top), min(float(width), left + wide), min(float(height), top + high))
    if seen[0] >= seen[2] or seen[1] >= seen[3]:
        raise DataError(f"{place}: nothing of its bbox lies in the image of {width} x {height} pixels")
    box = hundredths(seen, (width, height))
    answer = format_box(box)
    return Annotation(
        id=name,
        images=names,
        question=expression,
        answer=answer,
        task="refer",
        boxes=(box,),
        truth={"answer": answer, "bbox": [left, top, wide, high], "width": width, "height": height},
    )


def _begin(path: Path) -> bytes:
    """The first character that is no space."""
    with path.open("rb") as file:
        return file.read(4096).removeprefix(codecs.BOM_UTF8).lstrip()[:1]


def _expressions(pickles: Sequence[Path]) -> Path:
    chosen = [path for path in pickles if ORIGINAL not in path.name] or list(pickles)
    if len(chosen) > 1:
        raise DataError(f"there are several pickles: {', '.join(map(str, chosen[:5]))}; name one, and instances.json")
    return chosen[0]


def _instances(objects: Sequence[Path], beside: Path) -> Path:
    chosen = [path for path in objects if path.stem == "instances"] or list(objects)
    if len(chosen) != 1:
        told = f"there are {len(chosen)}" if chosen else "there is none"
        raise DataError(f"{beside} needs the one file instances.json that it came with, and {told}")
    return chosen[0]

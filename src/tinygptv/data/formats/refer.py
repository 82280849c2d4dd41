"""Referring expressions: a folder of REFER's own files, or MiniGPT-4's JSON, of which each file is one split.

REFER's pickle of expressions (``refs(unc).p``) names the boxes of its ``instances.json``. It is read by a program of
its own (``data/unpickle_refs.py``), and of both only what the split needs stays in memory.

Source: ``refer.py`` of github.com/lichengunc/refer; ``eval_scripts/eval_ref.py`` of github.com/Vision-CAIR/MiniGPT-4.
"""

import codecs
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from tinygptv.config import Task
from tinygptv.data import unpickle_refs
from tinygptv.data.annotations import Annotation, annotated, found
from tinygptv.data.boxes import box_within, format_box, pixel_box
from tinygptv.data.coco import names_of_file
from tinygptv.data.entries import Ids, content_of, file_of, id_of, is_trained, size_of, value_of
from tinygptv.data.json_items import JsonItem, read_items, read_members
from tinygptv.data.source import Found, Rejection, Source
from tinygptv.data.tasks import is_blank
from tinygptv.ground.errors import DataError
from tinygptv.ground.files import require_room, scratch_folder
from tinygptv.ground.strangers import read_apart

PARTS = ("val", "testA", "testB", "test", "train")
"""Splits of REFER's files, the one that is read where none is named first."""
TASKS: tuple[Task, ...] = ("refer", "identify")
READER = Path(unpickle_refs.__file__)
ORIGINAL = "google"
"""REFER's folders have two pickles: the splits that are published about, and those of the first authors."""
FILE_NAME = 27
"""Characters of an ``img_id`` of MiniGPT-4's that are the file's name: ``COCO_train2014_000000581857``."""


def read(source: Source) -> Iterator[Found | Rejection]:
    """The expressions with their images; of `train`, and as `identify`, each object with all of its expressions.

    Raises:
        DataError: as ``annotations``, or the data set is of another task.
    """
    part, task = source.settings.part or "", source.settings.task or "refer"
    if task not in TASKS:
        raise DataError(
            f"data set {source.name}: expressions become records of refer or identify; name one as its `task`"
        )
    if is_trained(part) or task == "identify":
        return found(source, _objects(source.files, part or PARTS[0], task))
    return found(source, annotations(source.files, part))


def annotations(files: Sequence[Path], part: str) -> Iterator[Annotation]:
    """The expressions of a split, in the order of the files.

    Raises:
        DataError: a file is missing, damaged, of another split or holds code, or an entry lacks something.
    """
    part = part or PARTS[0]
    pickles, objects, lists = _told_apart(files)
    if pickles:
        return _of_refer(_Refs(pickles, objects, part))
    return _of_list(_list_of(lists, part, files))


def _objects(files: Sequence[Path], part: str, task: Task) -> Iterator[Annotation | Rejection]:
    """The objects of a split; one that is broken is left out."""
    pickles, objects, lists = _told_apart(files)
    if not pickles:
        return annotated(_listed(_list_of(lists, part, files)), partial(_object_of_list, task))
    refs = _Refs(pickles, objects, part)
    refs.check_together()
    return annotated(refs.items, partial(_object_of_refer, refs, task))


class _Refs:
    """The objects of a split as REFER's pickle has them, and their boxes and pictures in its ``instances.json``."""

    def __init__(self, pickles: Sequence[Path], objects: Sequence[Path], part: str) -> None:
        self._path, self._instances = _expressions(pickles), _instances(objects, pickles[0])
        self.items = _refs_of(self._path, part)
        self._images: dict[str, dict[str, Any]] = {str(item.content.get("image_id")): {} for item in self.items}
        self._boxes: dict[str, tuple[str, Any]] = {str(item.content.get("ann_id")): ("", None) for item in self.items}
        for member, item in read_members(self._instances):
            if member in ("images", "annotations"):
                content = content_of(item)
                name = id_of(content, "id", item.place)
                if member == "images" and name in self._images:
                    self._images[name] = {**content, "place": item.place}
                elif member == "annotations" and name in self._boxes:
                    self._boxes[name] = item.place, content.get("bbox")

    def check_together(self) -> None:
        """Check that the two files belong together.

        Raises:
            DataError: no object of the one is in the other.
        """
        if not any(place for place, _ in self._boxes.values()):
            raise DataError(f"{self._instances} has no object of {self._path}; name the one that it came with")

    def placed(self, ref: dict[str, Any], place: str) -> Annotation:
        """An object without its expressions: what ``_placed`` gives.

        Raises:
            DataError: box or picture is missing, or is none.
        """
        image_id, ann_id = (id_of(ref, key, place) for key in ("image_id", "ann_id"))
        (at, bbox), image = self._boxes[ann_id], self._images[image_id]
        if not at or not image:
            missing = f"image {image_id}" if at else f"annotation {ann_id}"
            raise DataError(f"{place}: its {missing} is not in {self._instances}")
        names = names_of_file(value_of(image, "file_name", str, image["place"]))
        return _placed(names, bbox, at, image, image["place"])


def _of_refer(refs: _Refs) -> Iterator[Annotation]:
    ids = Ids()
    for item in refs.items:
        placed, place = refs.placed(item.content, item.place), item.place
        for sentence in value_of(item.content, "sentences", list, place):
            name = ids.add(id_of(sentence, "sent_id", place), place)
            yield replace(placed, id=name, question=value_of(sentence, "sent", str, place))


def _object_of_refer(refs: _Refs, task: Task, ref: dict[str, Any], place: str) -> Annotation:
    """An object with its expressions as people wrote them (``raw``), which the authors train on."""
    listed = value_of(ref, "sentences", list, place)
    texts = [value_of(one, "raw" if "raw" in one else "sent", str, place) for one in listed]
    return _in_all_words(replace(refs.placed(ref, place), id=id_of(ref, "ref_id", place)), texts, task, place)


def _refs_of(path: Path, part: str) -> list[JsonItem]:
    """The objects of a split."""
    refs, splits = [], Counter[str]()
    with scratch_folder() as folder:
        require_room(folder, path.stat().st_size)
        plain = folder / "refs.jsonl"
        fix = "fetch it again (github.com/lichengunc/refer)"
        read_apart(READER, path, plain, refused=DataError, fix=fix)
        for number, item in enumerate(read_items(plain) if plain.stat().st_size else (), start=1):
            entry = JsonItem(f"{path.name}, entry {number}", content_of(item))
            split = value_of(entry.content, "split", str, entry.place)
            splits[split] += 1
            if split == part:
                refs.append(entry)
    if not refs:
        raise DataError(f"{path} has nothing of the split {part}; it has {', '.join(splits) or 'no expressions'}")
    return refs


def _of_list(path: Path) -> Iterator[Annotation]:
    """MiniGPT-4's list. Its ids need not differ: later ones are numbered, as in ``COCO_…_1#2``."""
    times = Counter[str]()
    for item in _listed(path):
        placed, texts = _placed_of_list(content_of(item), item.place)
        for text in texts:
            times[placed.id] += 1
            name = placed.id if times[placed.id] == 1 else f"{placed.id}#{times[placed.id]}"
            yield replace(placed, id=name, question=text)


def _object_of_list(task: Task, content: dict[str, Any], place: str) -> Annotation:
    placed, texts = _placed_of_list(content, place)
    return _in_all_words(placed, texts, task, place)


def _listed(path: Path) -> Iterator[JsonItem]:
    """The entries of MiniGPT-4's list.

    Raises:
        DataError: they are REFER's.
    """
    for item in read_items(path):
        if isinstance(item.content, dict) and "img_id" not in item.content and "sentences" in item.content:
            raise DataError(f"{path} has REFER's expressions as JSON; name its own refs(unc).p or refs(umd).p instead")
        yield item


def _list_of(lists: Sequence[Path], part: str, files: Sequence[Path]) -> Path:
    if not lists:
        there = ", ".join(path.name for path in files[:5])
        raise DataError(f"neither REFER's refs(unc).p nor a list of MiniGPT-4's is among {there}; name one of them")
    return file_of(lists, part, PARTS)


def _placed_of_list(content: dict[str, Any], place: str) -> tuple[Annotation, list[str]]:
    """An entry without its expressions, and these."""
    image = id_of(content, "img_id", place)
    names = names_of_file(f"{image[:FILE_NAME]}.jpg")
    texts = [content["sents"]] if isinstance(content.get("sents"), str) else value_of(content, "sents", list, place)
    if not texts or not all(isinstance(text, str) for text in texts):
        raise DataError(f"{place}: `sents` must be a text or a list of texts")
    return replace(_placed(names, content.get("bbox"), place, content, place), id=image), texts


def _placed(names: tuple[str, ...], bbox: Any, place: str, image: dict[str, Any], of_image: str) -> Annotation:
    """What is asked for, without an id and the words to ask with."""
    width, height = size_of(image, of_image)
    try:
        known = pixel_box(bbox)
    except ValueError as error:
        raise DataError(f"{place}: {error}") from None
    if (box := box_within(known, (width, height))) is None:
        raise DataError(f"{place}: nothing of its bbox lies in the image of {width} x {height} pixels")
    answer = format_box(box)
    truth = {"answer": answer, "bbox": list(known), "width": width, "height": height}
    return Annotation(id="", images=names, question="", answer=answer, task="refer", boxes=(box,), truth=truth)


def _in_all_words(placed: Annotation, texts: Sequence[str], task: Task, place: str) -> Annotation:
    """An object to train on: one of its expressions is drawn, each as often, to ask with or to answer with."""
    seen = [text for text in texts if not is_blank(text)]
    if not seen:
        raise DataError(f"{place} has no expression")
    if task == "refer":
        return replace(placed, question=seen[0], wordings=tuple(seen) if len(seen) > 1 else (), truth={})
    times = Counter(seen)
    return replace(
        placed,
        task=task,
        question=placed.answer,
        answer=max(times, key=times.__getitem__),
        accepted=tuple((text, float(count)) for text, count in times.items()) if len(times) > 1 else (),
        truth={},
    )


def _told_apart(files: Sequence[Path]) -> tuple[list[Path], list[Path], list[Path]]:
    """Pickles, JSON objects and JSON lists, by what they begin with."""
    begins = {path: _begin(path) for path in files}
    pickles = [path for path, begin in begins.items() if path.suffix == ".p" or begin in (b"\x80", b"(", b"]")]
    objects = [path for path, begin in begins.items() if begin == b"{" and path not in pickles]
    return pickles, objects, [path for path, begin in begins.items() if begin == b"["]


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

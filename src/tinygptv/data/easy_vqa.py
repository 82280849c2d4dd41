"""easy-VQA as records: questions as they are, and the five other tasks built from what the questions say.

What an image shows is taken from that image's questions alone, and where it shows it from its pixels.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageChops

from tinygptv.data.boxes import Box, format_box, hundredths
from tinygptv.data.images import ImageError, read_image
from tinygptv.data.records import (
    ImageInfo,
    ImageRecord,
    ImageSample,
    Record,
    RecordError,
    Turn,
    check_header,
    check_record,
)
from tinygptv.data.tar_index import read_members
from tinygptv.ground.errors import DataError
from tinygptv.ground.files import read_json

SOURCE = "easy-VQA 1.0"
LICENCE = "MIT"
SHAPES = ("circle", "rectangle", "triangle")
COLOURS = ("black", "blue", "brown", "gray", "green", "red", "teal", "yellow")

_S, _C = f"(?P<shape>{'|'.join(SHAPES)})", f"(?P<colour>{'|'.join(COLOURS)})"
_WHAT = tuple(
    re.compile(pattern)
    for pattern in (
        rf"what is the {_C} shape\?",
        rf"what color is the (?:shape|{_S})\?",
        rf"what is the color of the (?:shape|{_S})\?",
        r"what shape (?:does the image contain|is in the image|is present)\?",
    )
)
_WHETHER = re.compile(
    rf"(?:is there|does the image|is)(?P<negated> not| no)?(?: contain)?(?: a)? "
    rf"(?:{_C} shape|{_S})(?: in the image| present)?\?"
)
_NUMBERED = re.compile(r"[0-9]{4,}\.png")

Rejection = dict[str, str]
"""``{"id": ..., "reason": ...}`` of a record that is left out."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the questions of an image say it shows."""

    shape: str | None
    colour: str | None

    @property
    def phrase(self) -> str | None:
        """Such as "red circle", or None where one of the two is not said."""
        return f"{self.colour} {self.shape}" if self.colour and self.shape else None


@dataclass(frozen=True, slots=True)
class Candidate:
    """One image: the sample made of its good records (None: none is good), and the records left out."""

    split: str
    sample: ImageSample | None
    rejected: tuple[Rejection, ...]


def read_candidates(folder: Path, val_images: int) -> Iterator[Candidate]:
    """Turn the output of ``download`` into samples, in the order of splits and image numbers.

    Args:
        folder: ``data/<profile>/download``.
        val_images: the last training images, in numeric order, that become the split ``val``.

    Raises:
        DataError: a file is missing or damaged, or the held-out slice leaves no training image.
    """
    for original in ("train", "test"):
        images = read_members(folder / f"{original}.tar", frozenset({"png"}))
        questions, strays = _by_image(folder / f"{original}.json", original, images)
        names = sorted(images)
        if odd := [name for name in names if not _NUMBERED.fullmatch(name)]:
            raise DataError(
                f"{folder / original}.tar: member {odd[0]} is not named <number>.png; run `dvc repro -f -s download`"
            )
        first_val = len(names) - val_images if original == "train" else len(names)
        if first_val < 1:
            raise DataError(f"shards.val_images is {val_images}, but there are {len(names)} training images")
        if strays:
            yield Candidate(original, None, tuple(strays))
        for place, name in enumerate(names):
            split = original if place < first_val else "val"
            yield make_candidate(split, _key(original, name), images[name], questions[name])


def make_candidate(split: str, key: str, image_bytes: bytes, questions: list[tuple[str, str]]) -> Candidate:
    """Build an image's records, and sort out those that break a rule.

    A damaged image, or questions that contradict one another, reject every record of the image: nothing says which
    of them is wrong.
    """
    names = [f"{key}-vqa-{number}" for number in range(len(questions))]
    try:
        image = read_image(image_bytes, key, formats=("PNG",))
        facts = derive_facts(questions, key)
    except (ImageError, RecordError) as error:
        return Candidate(split, None, tuple({"id": name, "reason": error.reason} for name in names or [key]))
    asked = zip(names, questions, strict=True)
    records = [Record(name, "vqa", (Turn(question, answer),)) for name, (question, answer) in asked]
    rejected: list[Rejection] = []
    if facts.phrase:
        records.append(Record(f"{key}-caption", "caption", (Turn("", f"a {facts.phrase}"),)))
        box = pixel_box(image)
        if box is None:
            rejected.append(
                {"id": f"{key}-box", "reason": "the image has one colour only: no shape to draw a box around"}
            )
        else:
            records.extend(box_records(key, facts.phrase, box))
    good: list[Record] = []
    for record in records:
        try:
            check_record(record, key)
        except RecordError as error:
            rejected.append({"id": record.id, "reason": error.reason})
        else:
            good.append(record)
    if not good:
        return Candidate(split, None, tuple(rejected))
    info = ImageInfo(f"{key}.png", image.width, image.height, hashlib.sha256(image_bytes).hexdigest())
    header = ImageRecord(key, info, SOURCE, LICENCE, tuple(good))
    check_header(header)
    return Candidate(split, ImageSample(header, image, image_bytes), tuple(rejected))


def box_records(key: str, phrase: str, box: Box) -> list[Record]:
    """The four tasks that point at, or are pointed at, a place in the image."""
    where = format_box(box)
    turns = {
        "grounding": Turn("", f"a <p>{phrase}</p> {where}"),
        "refer": Turn(phrase, where),
        "identify": Turn(where, phrase),
        "detection": Turn(phrase, f"<p>{phrase}</p> {where}"),
    }
    return [Record(f"{key}-{task}", task, (turn,), (box,)) for task, turn in turns.items()]  # type: ignore[arg-type]


def derive_facts(questions: list[tuple[str, str]], key: str) -> Facts:
    """Read shape and colour off an image's questions and answers.

    A "what" question says what it presupposes and what is answered; a yes/no question says its subject is there, or
    is not there ("is there not a circle?", "no": there is one). Questions of other forms say nothing.

    Raises:
        RecordError: the questions contradict one another.
    """
    said: dict[str, set[str]] = {"shape": set(), "colour": set()}
    denied: dict[str, set[str]] = {"shape": set(), "colour": set()}
    for question, answer in questions:
        match = next(filter(None, (pattern.fullmatch(question) for pattern in _WHAT)), None)
        if match:
            words = {*match.groupdict().values(), answer}
            said["shape"].update(words.intersection(SHAPES))
            said["colour"].update(words.intersection(COLOURS))
        elif (match := _WHETHER.fullmatch(question)) and answer in ("yes", "no"):
            there = (answer == "yes") != bool(match["negated"])
            for kind in ("shape", "colour"):
                if match[kind]:
                    (said if there else denied)[kind].add(match[kind])
    for kind in ("shape", "colour"):
        if len(said[kind]) > 1:
            raise RecordError(f"the image's questions contradict one another: {' and '.join(sorted(said[kind]))}", key)
        if both := said[kind] & denied[kind]:
            raise RecordError(f"the image's questions contradict one another: {both.pop()} and not", key)
    return Facts(*(next(iter(said[kind]), None) for kind in ("shape", "colour")))


def pixel_box(image: Image.Image) -> Box | None:
    """The box around all pixels that differ from the most frequent colour, in hundredths; None if all are equal."""
    colours = image.getcolors(maxcolors=image.width * image.height)
    assert colours is not None, "no image has more colours than pixels"
    background = Image.new("RGB", image.size, max(colours)[1])  # type: ignore[arg-type]
    edges = ImageChops.difference(image, background).getbbox()
    if edges is None:
        return None
    return hundredths(edges, image.size)


def _by_image(
    path: Path, split: str, images: dict[str, bytes]
) -> tuple[dict[str, list[tuple[str, str]]], list[Rejection]]:
    """Questions under their image's name, and those that have none or are not [question, answer, number]."""
    content = read_json(path)
    if not isinstance(content, list):
        raise DataError(f"{path} must hold a list; run `dvc repro -f -s download`")
    questions: dict[str, list[tuple[str, str]]] = defaultdict(list)
    strays: list[Rejection] = []
    for place, item in enumerate(content):
        if not _is_question(item):
            strays.append({"id": f"{split}-entry-{place}", "reason": "is not [question, answer, image number]"})
        elif (name := f"{item[2]:04d}.png") not in images:
            strays.append({"id": f"{split}-entry-{place}", "reason": f"image {item[2]} does not exist"})
        else:
            questions[name].append((item[0], item[1]))
    return questions, strays


def _is_question(item: Any) -> bool:
    return isinstance(item, list) and [type(part) for part in item] == [str, str, int]


def _key(split: str, name: str) -> str:
    """The sample's key: the original split and the image's number."""
    return f"{split}-{int(name.removesuffix('.png')):06d}"

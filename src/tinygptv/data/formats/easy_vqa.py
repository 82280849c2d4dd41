"""easy-VQA (https://github.com/vzhou842/easy-VQA, MIT), from its installed package, whose code is not run.

Questions are taken as they are, and the five other tasks are built from what they say. What an image shows is taken
from that image's questions alone, and where it shows it from its pixels.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
from collections import defaultdict
from collections.abc import Iterator, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageChops

from tinygptv.data.boxes import Box, format_box, hundredths
from tinygptv.data.images import ImageError, read_image
from tinygptv.data.record_rules import RecordError
from tinygptv.data.records import Record, Turn
from tinygptv.data.source import Found, Rejection, Source
from tinygptv.ground.errors import DataError
from tinygptv.ground.files import read_json

MODULE = "easy_vqa"
DISTRIBUTION = "easy-vqa"
TESTED_VERSION = "1.0"
INSTALL = f"run `python -m pip install --force-reinstall {DISTRIBUTION}=={TESTED_VERSION}`"
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
_NUMBERED = re.compile(r"[0-9]+\.png")


@dataclass(frozen=True, slots=True)
class Facts:
    """What the questions of an image say it shows."""

    shape: str | None
    colour: str | None

    @property
    def phrase(self) -> str | None:
        """Such as "red circle", or None where one of the two is not said."""
        return f"{self.colour} {self.shape}" if self.colour and self.shape else None


def folder() -> Path:
    """The data of the installed package.

    Raises:
        DataError: it is not installed, or has none.
    """
    spec = importlib.util.find_spec(MODULE)
    if spec is None or spec.origin is None:
        raise DataError(f"the package {DISTRIBUTION} is not installed; {INSTALL}")
    data = Path(spec.origin).parent / "data"
    if not data.is_dir():
        raise DataError(f"{data} is missing; {INSTALL}")
    return data


def read(source: Source) -> Iterator[Found | Rejection]:
    """Records of the training images, which the profile splits, and of the test images.

    Raises:
        DataError: a file is missing or is not what its name says.
    """
    for split in ("train", "test"):
        below = f"{split}/images/"
        images = {name.removeprefix(below) for name in source.names(below)}
        if odd := sorted(name for name in images if not _NUMBERED.fullmatch(name)):
            raise DataError(f"{source.images / below / odd[0]} is not named <number>.png; {INSTALL}")
        if not images:
            raise DataError(f"{source.images / below} has no images; {INSTALL}")
        questions, strays = _by_image(source.images / split / "questions.json", split, images)
        yield from strays
        for name in sorted(images, key=_number):
            image = source.image(below + name)
            assert image is not None, "the manifest named it"
            given = "" if split == "train" else split
            for item in image_records(f"{split}-{_number(name):06d}", image.read(), questions[name]):
                yield item if isinstance(item, dict) else Found(item, image, given)


def image_records(name: str, image_bytes: bytes, questions: list[tuple[str, str]]) -> Iterator[Record | Rejection]:
    """An image's records.

    A damaged image, or questions that contradict one another, reject every record of the image: nothing says which
    of them is wrong.
    """
    names = [f"{name}-vqa-{number}" for number in range(len(questions))]
    try:
        image = read_image(image_bytes, name, formats=("PNG",))
        facts = derive_facts(questions, name)
    except (ImageError, RecordError) as error:
        yield from ({"id": record, "reason": error.reason} for record in names or [name])
        return
    for record, (question, answer) in zip(names, questions, strict=True):
        yield Record(record, "vqa", (Turn(question, answer),))
    if facts.phrase:
        yield Record(f"{name}-caption", "caption", (Turn("", f"a {facts.phrase}"),))
        box = pixel_box(image)
        if box is None:
            yield {"id": f"{name}-box", "reason": "the image has one colour only: no shape to draw a box around"}
        else:
            yield from box_records(name, facts.phrase, box)


def box_records(name: str, phrase: str, box: Box) -> list[Record]:
    """The four tasks that point at, or are pointed at, a place in the image."""
    where = format_box(box)
    turns = {
        "grounding": Turn("", f"a <p>{phrase}</p> {where}"),
        "refer": Turn(phrase, where),
        "identify": Turn(where, phrase),
        "detection": Turn(phrase, f"<p>{phrase}</p> {where}"),
    }
    return [Record(f"{name}-{task}", task, (turn,), (box,)) for task, turn in turns.items()]  # type: ignore[arg-type]


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


def _by_image(path: Path, split: str, images: Set[str]) -> tuple[dict[str, list[tuple[str, str]]], list[Rejection]]:
    """Questions under their image's name, and those that have none or are not [question, answer, number]."""
    content = read_json(path)
    if not isinstance(content, list):
        raise DataError(f"{path} must hold a list; {INSTALL}")
    questions: dict[str, list[tuple[str, str]]] = defaultdict(list)
    strays: list[Rejection] = []
    for place, item in enumerate(content):
        if not _is_question(item):
            strays.append({"id": f"{split}-entry-{place}", "reason": "is not [question, answer, image number]"})
        elif (name := f"{item[2]}.png") not in images:
            strays.append({"id": f"{split}-entry-{place}", "reason": f"image {item[2]} does not exist"})
        else:
            questions[name].append((item[0], item[1]))
    return questions, strays


def _is_question(item: Any) -> bool:
    return isinstance(item, list) and [type(part) for part in item] == [str, str, int]


def _number(name: str) -> int:
    return int(name.removesuffix(".png"))

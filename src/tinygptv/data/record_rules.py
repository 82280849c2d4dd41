"""Every rule that a sample of a shard obeys (docs/records.md).

Nothing here trusts its input: text, numbers and pixels are checked before anything else sees them.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping

from PIL import Image

from tinygptv.config.data import SET_NAME
from tinygptv.data.boxes import find_boxes, format_box, widened
from tinygptv.data.images import ImageError, read_image
from tinygptv.data.records import TASKS, ImageRecord, Record, Turn
from tinygptv.data.tasks import MAX_TURNS, is_blank, takes_question
from tinygptv.ground.errors import DataError

BOX_TASKS = frozenset({"grounding", "refer", "identify", "detection"})
IMAGE_FORMATS = {"png": "PNG", "jpg": "JPEG", "jpeg": "JPEG", "webp": "WEBP"}
MAX_NAME = 200
MAX_CHARACTERS = 1_000_000
"""Of a question or an answer; far more than any stage reads of it."""
MAX_RECORDS = 10_000
MAX_BOXES = 100
MAX_ACCEPTED = 100
MAX_WORDINGS = 100
MAX_ANNOTATION = 1_000_000
"""Bytes of what a benchmark's files say of a record."""

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,89}")  # with its extension it fits the 100 bytes of a tar header
_HALF = re.compile("[\ud800-\udfff]")
# Controls and marks that reorder text: what is printed beside the data must not play tricks on its reader.
_NOT_IN_A_NAME = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class RecordError(DataError):
    """A record breaks the format; ``reason`` says how, ``record`` is its id or its image's key."""

    def __init__(self, reason: str, record: str) -> None:
        super().__init__(f"{record}: {reason}")
        self.reason = reason
        self.record = record


def check_header(record: ImageRecord) -> None:
    """Check what the records of a sample share; else raise ``RecordError``."""
    key, image = record.key, record.image
    if not _KEY.fullmatch(key):
        raise RecordError("a key has letters, digits, `-` and `_` only", key)
    for name, text in (("source", record.source), ("licence", record.licence)):
        _check_name(text, name, key)
    if not isinstance(record.dataset, str) or not SET_NAME.fullmatch(record.dataset):
        raise RecordError(f"dataset must be the name of a data set, not {record.dataset!r}", key)
    if image is None:
        _check_text_only(record)
        return
    _check_name(image.file, "image.file", key)
    if image.file not in {f"{key}.{extension}" for extension in IMAGE_FORMATS}:
        raise RecordError(f"image.file must be {key}.png, .jpg, .jpeg or .webp, not {image.file!r}", key)
    for name, size in (("width", image.width), ("height", image.height)):
        if type(size) is not int or size < 1:
            raise RecordError(f"image.{name} must be a whole number of at least 1, not {size!r}", key)
    if not isinstance(image.sha256, str) or not _SHA256.fullmatch(image.sha256):
        raise RecordError("image.sha256 must be 64 lower-case hexadecimal digits", key)


def _check_text_only(record: ImageRecord) -> None:
    if len(record.records) != 1:
        raise RecordError(f"has no image and {len(record.records)} records; one is the most", record.key)
    if (task := record.records[0].task) != "conversation":
        raise RecordError(f"task {task} needs an image", record.records[0].id)


def check_record(record: Record, key: str) -> None:
    """Check one record; else raise ``RecordError``, which names the image's key where the record's id is broken."""
    _check_name(record.id, "id", key)
    if record.task not in TASKS:
        raise RecordError(f"unknown task {record.task!r}; known are {', '.join(TASKS)}", record.id)
    if not 1 <= len(record.turns) <= MAX_TURNS:
        raise RecordError(f"turns must number 1 to {MAX_TURNS}", record.id)
    if len(record.boxes) > MAX_BOXES:
        raise RecordError(f"boxes must number at most {MAX_BOXES}", record.id)
    for box in record.boxes:
        _check_box(box, record.id)
    if record.task in BOX_TASKS and not record.boxes:
        raise RecordError(f"task {record.task} needs a box", record.id)
    _check_annotation(record)
    for turn in record.turns:
        _check_text(turn.question, "question", record.id)
        if takes_question(record.task) and is_blank(turn.question):
            raise RecordError(f"question is empty, but the task {record.task} asks one", record.id)
        _check_text(turn.answer, "answer", record.id)
        if is_blank(turn.answer):
            raise RecordError("answer is empty: nothing in it can be seen", record.id)
        _check_accepted(turn, record.id)
        _check_wordings(turn, record.id)
        for box in find_boxes("\n".join((*turn.questions, turn.answer, *turn.answers))):
            if widened(box) not in record.boxes:
                raise RecordError(f"the text's box {format_box(box)} is not among boxes", record.id)


def _check_accepted(turn: Turn, record: str) -> None:
    """Check the answers that are right beside ``answer``; else raise ``RecordError``."""
    if not turn.accepted:
        return
    if len(turn.accepted) > MAX_ACCEPTED:
        raise RecordError(f"accepted must number at most {MAX_ACCEPTED}", record)
    for text, weight in turn.accepted:
        _check_text(text, "an accepted answer", record)
        if is_blank(text):
            raise RecordError("an accepted answer is empty: nothing in it can be seen", record)
        if type(weight) is not float or not 0 < weight < math.inf:
            raise RecordError(f"an accepted answer's weight is a number above 0 such as 3.0, not {weight!r}", record)
    if turn.answer != max(turn.accepted, key=lambda item: item[1])[0]:
        raise RecordError("answer must be the heaviest of accepted, the first of equals", record)


def _check_wordings(turn: Turn, record: str) -> None:
    """Check the other ways to put the question; else raise ``RecordError``."""
    if not turn.wordings:
        return
    if not 2 <= len(turn.wordings) <= MAX_WORDINGS or turn.question != turn.wordings[0]:
        raise RecordError(f"wordings must be 2 to {MAX_WORDINGS} texts, the question first", record)
    for text in turn.wordings:
        _check_text(text, "a wording of the question", record)
        if is_blank(text):
            raise RecordError("a wording of the question is empty: nothing in it can be seen", record)


def _check_annotation(record: Record) -> None:
    """Check what a benchmark's files say beyond question and answer; else raise ``RecordError``."""
    if not isinstance(record.annotation, Mapping):
        raise RecordError(f"annotation must be an object, not {type(record.annotation).__name__}", record.id)
    try:
        size = len(json.dumps(record.annotation, ensure_ascii=False, allow_nan=False).encode())
    except (TypeError, ValueError) as error:  # half a character is a ValueError as well
        raise RecordError(f"annotation is no JSON ({error})", record.id) from None
    if size > MAX_ANNOTATION:
        raise RecordError(f"annotation has {size} bytes, and {MAX_ANNOTATION} are the most", record.id)


def _check_text(text: object, name: str, record: str, limit: int = MAX_CHARACTERS) -> None:
    """Check that a value is Unicode text of a bounded length; else raise ``RecordError``.

    Whatever it says is harmless: in what ``data/prompts.py`` builds, no text opens an image slot or ends a turn,
    and what shows texts to people shows what cannot be seen as a sign.
    """
    if not isinstance(text, str):
        raise RecordError(f"{name} must be text, not {type(text).__name__}", record)
    if len(text) > limit:
        raise RecordError(f"{name} has {len(text)} characters, and {limit} are the most; shorten it", record)
    if found := _HALF.search(text):
        raise RecordError(f"{name} has half a character (U+{ord(found[0]):04X}); save the file as UTF-8", record)


def _check_name(text: object, name: str, record: str) -> None:
    """Check what is printed as it is: an id, a source, a licence, a file's name; else raise ``RecordError``."""
    _check_text(text, name, record, limit=MAX_NAME)
    assert isinstance(text, str)
    if found := _NOT_IN_A_NAME.search(text):
        raise RecordError(f"{name} has the character U+{ord(found[0]):04X}, which cannot be seen; remove it", record)
    if is_blank(text):
        raise RecordError(f"{name} is empty", record)


def check_image(record: ImageRecord, image_bytes: bytes) -> Image.Image:
    """Decode an image and check that it is the one the record describes.

    Raises:
        RecordError: it is damaged, too large or another one.
    """
    info = record.image
    assert info is not None, "only asked where there is one"
    if hashlib.sha256(image_bytes).hexdigest() != info.sha256:
        raise RecordError("the image's bytes do not have image.sha256", record.key)
    extension = info.file.rpartition(".")[2]
    try:
        image = read_image(image_bytes, record.key, formats=(IMAGE_FORMATS[extension],))
    except ImageError as error:
        raise RecordError(error.reason, record.key) from None
    if image.size != (info.width, info.height):
        raise RecordError(f"the image has {image.size} pixels, the record {(info.width, info.height)}", record.key)
    return image


def _check_box(box: object, record: str) -> None:
    if not isinstance(box, tuple) or len(box) != 4 or any(type(n) is not int or not 0 <= n <= 100 for n in box):
        raise RecordError(f"a box is four whole numbers of 0 to 100, not {box!r}", record)
    x1, y1, x2, y2 = box
    for first, last, problem in (
        (x1, x2, "left edge is right of its right"),
        (y1, y2, "upper edge is below its lower"),
    ):
        if first > last:
            raise RecordError(f"box {list(box)}: its {problem} edge; write [x1, y1, x2, y2]", record)

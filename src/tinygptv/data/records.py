"""The record format: what a sample of a shard holds (docs/records.md).

A sample is one image and its records of one data set, or one record without an image. ``data/record_rules.py`` checks.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, get_args

from PIL import Image

from tinygptv.config import Task
from tinygptv.data.boxes import Box

VERSION = 2
FIRST_SET = "easy_vqa"
"""The only data set that version 1, which names none, was written of."""
TASKS: tuple[Task, ...] = get_args(Task)
KEY_DIGITS = 32


@dataclass(frozen=True, slots=True)
class Turn:
    """One question, without the words of an instruction template, and its answer."""

    question: str
    answer: str
    accepted: tuple[tuple[str, float], ...] = ()
    """Where several answers are right: each with its weight in the draw of a step. ``answer`` is the heaviest of them,
    the first of equals; it is the one that is asked for."""

    wordings: tuple[str, ...] = ()
    """Where the question may be put in several ways: all of them, each as often drawn for a step. ``question`` is the
    first; it is the one that is asked."""

    @property
    def questions(self) -> tuple[str, ...]:
        """All ways to put the question."""
        return self.wordings or (self.question,)

    @property
    def answers(self) -> tuple[str, ...]:
        """All answers that are right."""
        return tuple(text for text, _ in self.accepted) or (self.answer,)


@dataclass(frozen=True, slots=True)
class Record:
    """A conversation about the image, under one task."""

    id: str
    task: Task
    turns: tuple[Turn, ...]
    boxes: tuple[Box, ...] = ()
    dataset: str = ""
    """Name of its data set; who reads it from files leaves it to ``data/source.py``."""
    annotation: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """What the files of a benchmark say of it beyond that, as JSON, for the benchmark's metric; else nothing."""

    def to_json(self) -> bytes:
        """The record's own part of a sample's JSON."""
        turns = [_turn_json(turn) for turn in self.turns]
        content = {"id": self.id, "task": self.task, "turns": turns, "boxes": self.boxes}
        return _json(content | ({"annotation": self.annotation} if self.annotation else {}))


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """The image file, and its width and height as it is seen: upright, whatever its rows are on the disk."""

    file: str
    width: int
    height: int
    sha256: str


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """All records of one image in a data set, or one record without an image: the JSON of a sample."""

    key: str
    image: ImageInfo | None
    source: str
    licence: str
    records: tuple[Record, ...]

    @property
    def dataset(self) -> str:
        """The data set that all of the records are of."""
        return self.records[0].dataset

    def to_json(self) -> bytes:
        """The sample's JSON; equal content is equal bytes."""
        return self.json_and_places()[0]

    def json_and_places(self) -> tuple[bytes, list[tuple[int, int]]]:
        """The sample's JSON, and offset and size in it of each record's own."""
        image = None if self.image is None else asdict(self.image)
        head = _json({"dataset": self.dataset, "image": image, "licence": self.licence})[:-1] + b',"records":['
        parts = [record.to_json() for record in self.records]
        places, offset = [], len(head)
        for part in parts:
            places.append((offset, len(part)))
            offset += len(part) + 1
        tail = b"]," + _json({"source": self.source, "version": VERSION})[1:]
        return head + b",".join(parts) + tail, places


@dataclass(frozen=True, slots=True)
class ImageSample:
    """A checked sample: records, the image as seen, and its file; None and nothing where it has no image."""

    record: ImageRecord
    image: Image.Image | None
    image_bytes: bytes

    @property
    def key(self) -> str:
        """The sample's name in the shard."""
        return self.record.key


def image_key(sha256: str) -> str:
    """The key of a sample with an image: the beginning of the SHA-256 of its file."""
    return sha256[:KEY_DIGITS]


def text_key(dataset: str, record: str) -> str:
    """The key of a sample without an image: the beginning of a digest of where it is from."""
    return hashlib.sha256(f"text\0{dataset}\0{record}".encode()).hexdigest()[:KEY_DIGITS]


def _turn_json(turn: Turn) -> dict[str, Any]:
    content: dict[str, Any] = {"question": turn.question, "answer": turn.answer}
    content |= {"accepted": turn.accepted} if turn.accepted else {}
    return content | ({"wordings": turn.wordings} if turn.wordings else {})


def _json(content: Any) -> bytes:
    return json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()

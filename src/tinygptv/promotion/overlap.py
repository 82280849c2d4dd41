"""Whether the questions that are asked were there to train with: their images and their words, by content.

The columns of the training sets' indexes tell which records are about an image that is asked about; only these are
read, so that millions of others cost a second. The same picture saved as another file is not recognised.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tinygptv.data.summary import sets
from tinygptv.data.tar_rows import split_rows
from tinygptv.evaluation.questions import EVALUATION_VIEW
from tinygptv.promotion.papers import Shared

if TYPE_CHECKING:
    from tinygptv.data.index import RecordIndex
    from tinygptv.data.records import Record
    from tinygptv.data.tar_rows import TarRows
    from tinygptv.evaluation.questions import Question
    from tinygptv.promotion.contest import Exam

Digest = bytes
"""SHA-256 of an image's file."""


class _AskedSet:
    """What is asked of a data set, and what of it was found among training data."""

    def __init__(self) -> None:
        self.images: set[Digest] = set()
        self.asked: dict[bytes | str, int] = {}
        """Words about an image, and id of a record → number of the question."""
        self.count = 0
        self.seen_images: set[Digest] = set()
        self.seen: set[int] = set()

    def add(self, question: Question) -> None:
        """A question that is asked."""
        self.images.add(question.image)
        for name in (words(question.image, question.task, question.content), question.record):
            self.asked.setdefault(name, self.count)
        self.count += 1

    def compare(self, image: Digest, record: Record, same_set: bool) -> None:
        """A record that was there to train with."""
        if image not in self.images:
            return
        self.seen_images.add(image)
        names: set[bytes | str] = {words(image, record.task, turn.question) for turn in record.turns}
        self.seen |= {self.asked[name] for name in names | ({record.id} if same_set else set()) if name in self.asked}


def shared_with_training(exam: Exam) -> tuple[Shared, ...]:
    """What each data set that is asked has in common with the training and the held-out splits of all.

    A question was there to train with where a record asks the same about the same image, whatever its data set, or is
    the same record of the same data set. (One with that id and another image cannot be: ``shards`` leaves it out.)

    Raises:
        DataError: a shard is missing or damaged.
    """
    by_set: dict[str, _AskedSet] = defaultdict(_AskedSet)
    for question in exam.questions:
        by_set[question.dataset].add(question)
    images = set().union(*(asked.images for asked in by_set.values()))
    for split in ("train", "val"):
        for dataset, image, record in _records_about(exam.shards, split, images):
            for name, asked in by_set.items():
                asked.compare(image, record, name == dataset)
    by_design = {ask.dataset: ask.benchmark.images_may_train for ask in exam.questions.asks}
    return tuple(
        Shared(dataset=name, records=len(asked.seen), images=len(asked.seen_images), by_design=by_design[name])
        for name, asked in by_set.items()
    )


def words(image: Digest, task: str, question: str) -> bytes:
    """What is asked of an image, but for case and white space; a task that asks in no words is told by its name."""
    text = " ".join(question.casefold().split()) or f"[{task}]"
    return sha256(image + text.encode()).digest()[:16]


def _records_about(shards: Path, split: str, images: set[Digest]) -> Iterator[tuple[str, Digest, Record]]:
    """Data set, image and record of what a split of all data sets has about these images."""
    heads = np.frombuffer(b"".join(digest[:8] for digest in images), np.uint64)
    for name, rows in sorted(split_rows(shards, EVALUATION_VIEW, split, sets(shards)).items()):
        for image, row in _rows_about(rows, heads):
            if image in images:
                yield name, image, rows.record(row)[0]


def _rows_about(rows: RecordIndex | TarRows, heads: NDArray[np.uint64]) -> Iterator[tuple[Digest, int]]:
    """Images that begin with one of these 8 bytes, and their rows; a batch of rows at a time."""
    first = 0
    for images_N32 in rows.column("image", range(len(rows))):
        heads_N = np.ascontiguousarray(images_N32[:, :8]).view(np.uint64)[:, 0]
        for place in np.flatnonzero(np.isin(heads_N, heads)):
            yield images_N32[place].tobytes(), first + int(place)
        first += len(images_N32)

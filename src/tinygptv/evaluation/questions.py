"""Which questions are asked of which records: read when they are asked for, however many there are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from tinygptv.data.records import image_key
from tinygptv.data.tar_rows import split_rows
from tinygptv.evaluation.benchmarks.own_truth import question_truth

if TYPE_CHECKING:
    from pathlib import Path

    from tinygptv.config import Preset, Task
    from tinygptv.data.index import RecordIndex
    from tinygptv.data.records import Record, Turn
    from tinygptv.data.tar_rows import TarRows
    from tinygptv.evaluation.benchmarks.seam import Truth
    from tinygptv.evaluation.benchmarks.table import Ask

PLACE = np.dtype([("ask", "<i2"), ("row", "<i8"), ("turn", "<i2")])
"""Where a question lies: number of its ask, row of its record, number of its turn. No more of it is in memory."""
EVALUATION_VIEW = "evaluate"
"""The step whose view names what is asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One thing to ask about one image."""

    dataset: str
    key: str
    """The data set's sample with the image."""
    record: str
    task: Task
    benchmark: str
    """Its name in the reports (``Ask.name``)."""
    content: str
    """What goes into an instruction: a question, an expression, or nothing."""
    truth: str
    """An answer that is right, to be shown."""
    annotation: Truth = field(default_factory=dict, hash=False)
    """What is right, as its benchmark is given it."""
    type: str
    """The kind of question by which its benchmark tells its figures apart; empty: it does not."""
    earlier: tuple[Turn, ...] = ()
    """The record's turns before it: a later question of a conversation is asked after them, as it is trained."""
    image: bytes = b""
    """SHA-256 of the image's file."""


class Questions(Sequence[Question]):
    """Questions in the order of their asks and of the rows of an index, so that those about an image follow another.

    A question is read from its tar each time that it is asked for. Records without an image are not asked.
    """

    def __init__(
        self, asks: Sequence[Ask], rows: Mapping[str, RecordIndex | TarRows], places: NDArray[Any] | None = None
    ) -> None:
        """Questions of the records of data sets.

        Args:
            asks: what is asked of which data set.
            rows: data set → its records; an ask of a data set that is not there asks nothing.
            places: which of the questions, as ``PLACE`` [N]; None: all.
        """
        self.asks = tuple(asks)
        self._rows = rows
        self.places = _all_places(self.asks, rows) if places is None else places
        self._last: tuple[tuple[str, int], tuple[Record, bytes | None]] | None = None

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, number: int) -> Question: ...
    @overload
    def __getitem__(self, number: slice) -> Questions: ...
    def __getitem__(self, number: int | slice) -> Question | Questions:
        """A question, or some of them; raises DataError where a record is damaged."""
        if isinstance(number, slice):
            return self.some(np.arange(len(self))[number])
        if not -len(self) <= number < len(self):
            raise IndexError(number)
        return self._read(number)

    def __iter__(self) -> Iterator[Question]:
        return (self._read(number) for number in range(len(self)))

    def some(self, numbers: NDArray[Any]) -> Questions:
        """Those of these numbers [N], in their order."""
        return Questions(self.asks, self._rows, self.places[numbers])

    def ask(self, number: int) -> Ask:
        """By which ask a question is asked."""
        return self.asks[self.places["ask"][number]]

    def counts(self) -> dict[str, int]:
        """Name in the reports → how many questions are asked under it; without those of which none are."""
        found = np.bincount(self.places["ask"], minlength=len(self.asks)).tolist()
        return {ask.name: count for ask, count in zip(self.asks, found, strict=True) if count}

    def words(self, number: int, question: Question, preset: Preset) -> str:
        """The instruction of the question of that number."""
        return self.ask(number).benchmark.instruction(preset, question.task, question.content, question.annotation)

    def choices(self, number: int, question: Question) -> tuple[str, ...]:
        """The answers whose likelihood the question of that number asks for."""
        return self.ask(number).benchmark.choices(question.annotation)

    def image_file(self, number: int) -> bytes:
        """The file of a question's image.

        Raises:
            DataError: it is damaged, or missing.
        """
        return self._rows[self.ask(number).dataset].image_bytes(int(self.places["row"][number]))

    @property
    def digest(self) -> str:
        """SHA-256 of what is asked: names, records and images, in their order; no record is read for it."""
        digest = sha256()
        for i, ask in enumerate(self.asks):
            chosen = self.places[self.places["ask"] == i]
            if not len(chosen):
                continue
            rows = self._rows[ask.dataset]
            first, last = int(chosen["row"].min()), int(chosen["row"].max())
            digest.update(f"{ask.name}\0{ask.dataset}\0{len(chosen)}\n".encode())
            digest.update(chosen["turn"].tobytes())
            for column in ("crc32", "image"):
                values = np.concatenate(list(rows.column(column, range(first, last + 1))))
                digest.update(values[chosen["row"] - first].tobytes())
        return digest.hexdigest()

    def _read(self, number: int) -> Question:
        ask, row, turn = self.ask(number), int(self.places["row"][number]), int(self.places["turn"][number])
        wanted = ask.dataset, row
        if self._last is None or self._last[0] != wanted:  # a later turn is mostly asked for right after
            self._last = wanted, self._rows[ask.dataset].record(row)
        record, image = self._last[1]
        assert image is not None
        asked, truth = record.turns[turn], question_truth(record, turn)
        return Question(
            dataset=ask.dataset,
            key=image_key(image.hex()),
            record=record.id,
            task=record.task,
            benchmark=ask.name,
            content=asked.question,
            truth=asked.answer,
            annotation=truth,
            type=ask.benchmark.type_of(asked.question, truth),
            earlier=record.turns[:turn],
            image=image,
        )


def open_questions(shards: Path, split: str, asks: Sequence[Ask], instead: str | None = None) -> Questions:
    """The questions of a split, none of which is read yet.

    Args:
        shards: a folder of shards, also one that ``write_shards`` or an earlier version has made.
        split: ``test``, ``val`` or ``train``.
        asks: what is asked (``evaluation/benchmarks/table.py``).
        instead: the split of data sets that have no record in this one; None: nothing is asked of them.

    Raises:
        DataError: an index is not the one of the view of ``evaluate``, or a tar is missing or damaged.
    """
    rows = dict(split_rows(shards, EVALUATION_VIEW, split, [ask.dataset for ask in asks]))
    if instead is not None:
        others = [ask.dataset for ask in asks if not len(rows.get(ask.dataset, ()))]
        rows |= split_rows(shards, EVALUATION_VIEW, instead, others)
    return Questions(asks, rows)


def evenly_spaced(questions: Questions, limit: int) -> Questions:
    """At most ``limit`` questions of each name, evenly spread over them: the same ones in every run."""
    chosen = []
    for i in range(len(questions.asks)):
        numbers = np.flatnonzero(questions.places["ask"] == i)
        count = min(limit, len(numbers))
        chosen.append(numbers[np.arange(count) * len(numbers) // max(count, 1)])
    return questions.some(np.concatenate(chosen) if chosen else np.arange(0))


def _all_places(asks: Sequence[Ask], rows: Mapping[str, RecordIndex | TarRows]) -> NDArray[Any]:
    found = [np.empty(0, PLACE)]
    for number, ask in enumerate(asks):
        if ask.dataset not in rows:
            continue
        of_set = rows[ask.dataset]
        wanted = range(len(of_set)) if ask.task is None else of_set.rows(ask.task)
        if not wanted:
            continue
        turns = np.concatenate(list(of_set.column("turns", wanted))).astype(np.int64)
        turns[~np.concatenate(list(of_set.column("image", wanted))).any(axis=1)] = 0
        places = np.empty(turns.sum(), PLACE)
        places["ask"] = number
        places["row"] = np.repeat(np.arange(wanted.start, wanted.stop), turns)
        places["turn"] = np.arange(len(places)) - np.repeat(np.cumsum(turns) - turns, turns)
        found.append(places)
    return np.concatenate(found)

"""What a block of a data set's rows holds: pictures decoded, records counted and measured as stages would train them.

A pure function of the rows, run in the processes of ``data/pool.py``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from tinygptv.data.fit import QuestionTooLongError
from tinygptv.data.images import ImageError
from tinygptv.data.prompts import IGNORE_INDEX
from tinygptv.data.record_encoder import RecordEncoder
from tinygptv.data.rejections import Rejections
from tinygptv.data.rows import SetRows
from tinygptv.data.shard_blocks import look_at
from tinygptv.data.tables import is_picture
from tinygptv.data.tasks import TEMPLATES, record_task
from tinygptv.own_data.tokens import FIRST_SPECIAL, tokenizer_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tinygptv.config import Family, Stage
    from tinygptv.data.prompts import Example
    from tinygptv.data.records import Record
    from tinygptv.data.rows import Sample

ENDLESS = 2**31
"""Tokens that no record has."""


@dataclass(frozen=True, slots=True)
class Use:
    """What a stage takes of a data set."""

    label: str
    """Stage and entry of its mixture."""
    stage: Stage
    family: Family | None
    """Instructions to ask with; None: those of each record's own task."""
    only: str | None
    """Task of the records that it takes; None: all."""
    slots: int
    """Image slots of an image."""
    image_token_id: int

    @classmethod
    def of(
        cls, label: str, stage: Stage, family: Family | None, templates: Family | None, sizes: tuple[int, int]
    ) -> Use:
        """That of an entry: its family, the templates of the data set; ``sizes`` are image slots and their token."""
        only = None if family is None else record_task(family)
        return cls(label, stage, templates if family is None else family, only, *sizes)


@dataclass(frozen=True, slots=True)
class CountJob:
    """A block to be looked at."""

    rows: Path
    """The file that ``rows.collect`` wrote."""
    dataset: str
    licence: str
    split: str
    number: int
    bits: int
    """How many bits of a key are the number of its block."""
    uses: tuple[Use, ...]


@dataclass(slots=True)
class UseCount:
    """Records of a use, measured."""

    records: int = 0
    answers: int = 0
    cut_answers: int = 0
    left_out_turns: int = 0
    sequences: Counter[int] = field(default_factory=Counter)
    """Tokens of a record, whole → how many records have so many."""
    longest_answers: Counter[int] = field(default_factory=Counter)
    """Tokens of a record's longest answer, end mark included → how many records."""
    cuts: Rejections = field(default_factory=Rejections)
    """Records of which something is cut."""
    too_long: Rejections = field(default_factory=Rejections)
    """Records whose first question leaves no room for an answer."""

    def merge(self, other: UseCount) -> None:
        """Count those of another block, too."""
        self.records += other.records
        self.answers += other.answers
        self.cut_answers += other.cut_answers
        self.left_out_turns += other.left_out_turns
        self.sequences += other.sequences
        self.longest_answers += other.longest_answers
        self.cuts.merge(other.cuts)
        self.too_long.merge(other.too_long)


@dataclass(slots=True)
class RowsCount:
    """Good records of some rows, and those whose pictures are not."""

    samples: int = 0
    images: int = 0
    splits: Counter[str] = field(default_factory=Counter)
    """Split → records."""
    tasks: Counter[str] = field(default_factory=Counter)
    """Task → records."""
    damaged: Rejections = field(default_factory=Rejections)
    uses: dict[str, UseCount] = field(default_factory=dict)

    def merge(self, other: RowsCount) -> None:
        """Count those of another block, too."""
        self.samples += other.samples
        self.images += other.images
        self.splits += other.splits
        self.tasks += other.tasks
        self.damaged.merge(other.damaged)
        for label, count in other.uses.items():
            self.uses.setdefault(label, UseCount()).merge(count)


def prepare(tokenizer: Path | None) -> Callable[[CountJob], RowsCount]:
    """The function for a process of ``data/pool.py``.

    Args:
        tokenizer: folder that has it; None: bytes are counted.
    """
    opened, meters = cache(SetRows), dict[str, Meter]()

    def count(job: CountJob) -> RowsCount:
        for use in job.uses:
            if use.label not in meters:
                meters[use.label] = Meter(use, tokenizer)
        return count_block(job, opened(job.rows), [meters[use.label] for use in job.uses])

    return count


def count_block(job: CountJob, rows: SetRows, meters: Iterable[Meter]) -> RowsCount:
    """Look at every record and picture of a block.

    Raises:
        DataError: a picture was changed meanwhile, or the licence is none that a record can have.
    """
    found = RowsCount(uses={meter.use.label: UseCount() for meter in meters})
    for sample in rows.block(job.split, job.number, job.bits):
        found.samples += 1
        try:
            looked, _ = look_at(sample, job.dataset, job.licence, rows)
        except ImageError as error:
            reason = _of_picture(sample, error.reason)
            found.damaged.add({"id": name, "reason": reason} for name in sample.ids)
            continue
        found.images += looked.image is not None
        for record in looked.records:
            found.splits[job.split] += 1
            found.tasks[record.task] += 1
            for meter in meters:
                meter.measure(record, found.uses[meter.use.label], pictured=looked.image is not None)
    return found


def _of_picture(sample: Sample, reason: str) -> str:
    """A reason with the name of the picture: that of a record may be one that only its content gives."""
    file = sample.image.path.name if sample.image is not None else ""
    return f"{file!r}: {reason}" if is_picture(file) else reason


class Meter:
    """Measures records as a stage trains them."""

    def __init__(self, use: Use, tokenizer: Path | None) -> None:
        """Prepare for a stage.

        Args:
            use: what it takes.
            tokenizer: folder that has it; None: bytes are counted.

        Raises:
            DataError: the stage's end mark is several tokens.
        """
        self.use = use
        self._exact = tokenizer is not None
        special = FIRST_SPECIAL + 2 if tokenizer is None else use.image_token_id
        reader, sizes = (
            tokenizer_of(tokenizer, use.stage.prompt.end_mark),
            {"image_token_id": special, "slots": use.slots},
        )
        endless = use.stage.model_copy(update={"max_answer_tokens": ENDLESS, "max_sequence_tokens": ENDLESS})
        self._whole = RecordEncoder(reader, endless, **sizes)
        self._cut = RecordEncoder(reader, use.stage, **sizes)

    def measure(self, record: Record, count: UseCount, *, pictured: bool) -> None:
        """Count a record, if the stage takes it; of its instructions and answers those that leave least room."""
        if self.use.only not in (None, record.task):
            return
        family, stage = self.use.family or record.task, self.use.stage
        templates = TEMPLATES[family]
        whole = self._example(self._whole, record, family, 0, pictured)
        longest = max(_answer_lengths(whole))
        count.records += 1
        count.answers += len(record.turns)
        count.sequences[len(whole.input_ids)] += 1
        count.longest_answers[longest] += 1
        # A byte-level tokenizer makes at most one token of a byte, so that most records need no second look.
        more = (max(map(_size, templates)) - _size(templates[0])) * bool(stage.prompt.template)
        most = len(whole.input_ids) + more * len(record.turns)
        if most <= stage.max_sequence_tokens and longest <= stage.max_answer_tokens:
            return
        cut = left_out = 0
        for template in range(len(templates)):
            try:
                example = self._example(self._cut, record, family, template, pictured)
            except QuestionTooLongError as error:
                self._too_long(count, error)
                return
            cut, left_out = max(cut, example.cut_answers), max(left_out, example.left_out_turns)
        count.cut_answers += cut
        count.left_out_turns += left_out
        if cut or left_out:
            count.cuts.add([{"id": record.id, "reason": self._told(len(whole.input_ids), longest, cut, left_out)}])

    def _example(
        self, encoder: RecordEncoder, record: Record, family: Family, template: int, pictured: bool
    ) -> Example:
        return encoder.example(record, family, template, lambda _, turn: encoder.longest(turn), pictured=pictured)

    def _too_long(self, count: UseCount, error: QuestionTooLongError) -> None:
        stage, unit = self.use.stage, self._unit
        told = f"its question leaves no room for an answer: {error.needed} {unit} are needed, and the stage has"
        fix = f"{stage.max_sequence_tokens}; raise max_sequence_tokens, or ask in fewer words"
        count.too_long.add([{"id": error.record, "reason": f"{told} {fix}"}])

    def _told(self, sequence: int, longest: int, cut: int, left_out: int) -> str:
        stage, exact = self.use.stage, self._exact
        said, fixes = [], []
        if cut:
            said.append(f"an answer of {longest} {self._unit} {'is' if exact else 'may be'} cut")
            fixes.append(f"max_answer_tokens ({stage.max_answer_tokens})")
        if left_out:
            said.append(f"{left_out} later turns {'are' if exact else 'may be'} left out of {sequence} {self._unit}")
        if left_out or longest <= stage.max_answer_tokens or sequence > stage.max_sequence_tokens:
            fixes.append(f"max_sequence_tokens ({stage.max_sequence_tokens})")
        return f"{' and '.join(said)}; raise {' and '.join(fixes)} of {self.use.label.partition(':')[0]}"

    @property
    def _unit(self) -> str:
        return "tokens" if self._exact else "bytes"


def _answer_lengths(example: Example) -> list[int]:
    """Tokens of each answer, end mark included."""
    lengths = [0]
    for label in example.labels:
        if label == IGNORE_INDEX:
            lengths.append(0)
        else:
            lengths[-1] += 1
    return lengths


def _size(text: str) -> int:
    return len(text.encode())

"""Whether the records of a stage fit its limits, before the first step: a look at columns, however many they are.

What will be cut is counted, and a question that is too long is found here rather than at the step that draws it. The
columns of the index bound the tokens of a text, for a byte-level tokenizer makes at most one of a byte; only records
that this leaves in doubt are read and tokenised.

Shapes: N rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tinygptv.data import prompts
from tinygptv.data.marks import BOS_MARK, IMAGE_MARK, defuse, growth
from tinygptv.data.order import permuted
from tinygptv.data.tasks import TEMPLATES
from tinygptv.ground.errors import DataError
from tinygptv.ground.tables import some

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from tinygptv.config import Family, Stage
    from tinygptv.data.index import RecordIndex
    from tinygptv.data.mixture import MixtureEntry
    from tinygptv.data.prompts import Example
    from tinygptv.data.records import Turn

COUNTS = ("answers", "cut_answers", "left_out_turns", "unseen")
LOOKED_AT = 5_000
"""Records in doubt that are read, of all entries of a stage: half a second. Of more, as many are read, evenly drawn,
and the counts are estimated from them."""


class QuestionTooLongError(DataError):
    """A record's first question leaves no room for an answer in the sequences of a stage."""

    def __init__(self, record: str, tokens: int, longest: int) -> None:
        super().__init__(
            f"record {record}: its question has {tokens} tokens, which leaves no room for an answer in the "
            f"max_sequence_tokens {longest} of the stage"
        )
        self.record = record
        self.needed = tokens + 2
        """Tokens of the question, one of an answer, and the end mark."""


@dataclass(frozen=True, slots=True)
class Doubts:
    """Rows of an entry that their columns do not settle; each is of one kind."""

    question: NDArray[np.int64]
    """The first question may leave no room: all of these are looked at."""
    sequence: NDArray[np.int64]
    """The whole may be longer than a sequence."""
    answer: NDArray[np.int64]
    """The whole fits, but an answer may be longer than answers may be."""


def check(
    name: str,
    stage: Stage,
    entries: Mapping[str, MixtureEntry],
    tokenizer: PreTrainedTokenizerBase,
    slots: int,
    longest: Callable[[str, int, int], Example],
) -> dict[str, dict[str, int]]:
    """Count what a stage will cut.

    Args:
        name: the stage.
        stage: its section of the configuration.
        entries: of its mixture.
        tokenizer: a byte-level one.
        slots: image slots of an image.
        longest: makes the sample of an entry, a row and a template with the longest of accepted answers.

    Returns:
        Entry of the mixture to ``answers``, and how many of them are cut (``cut_answers``) or left out with their
        questions (``left_out_turns``), each by the template and the answer that leave least room. ``unseen``: the
        records in doubt that were not looked at; where it is not 0, the two counts before it are estimates.

    Raises:
        DataError: questions leave no room for an answer.
    """
    count = token_counter(tokenizer)
    too_long: dict[str, int] = {}

    def look(entry: str, row: int, family: Family) -> tuple[int, int]:
        """Cut answers and left out turns of a record in doubt."""
        drawn = []
        for template in range(len(TEMPLATES[family])):
            try:
                drawn.append(longest(entry, row, template))
            except QuestionTooLongError as error:
                too_long[error.record] = max(error.needed, too_long.get(error.record, 0))
        cut = max((sample.cut_answers for sample in drawn), default=0)
        return cut, max((sample.left_out_turns for sample in drawn), default=0)

    parts = [(entry, rows.index, *part) for entry, rows in entries.items() for part in rows.families()]
    sums = {entry: Counter[str]() for entry in entries}
    for entry, index, family, rows in parts:
        answers, doubts = settle(index, rows, family, stage, slots)
        read, unseen = _drawn(doubts, LOOKED_AT // len(parts), (name, entry, family))
        sums[entry] += Counter(answers=answers, unseen=unseen)
        for row in doubts.question.tolist():
            cut, left = look(entry, row, family)
            sums[entry] += Counter(cut_answers=cut, left_out_turns=left)
        seen = Counter[str]()
        for row in read.sequence.tolist():
            cut, left = look(entry, row, family)
            seen += Counter(cut_answers=cut, left_out_turns=left)
        for row in read.answer.tolist():
            turns = index.read(row).turns  # without its image: that column is the largest one
            seen["cut_answers"] += sum(_most(turn, stage, count) >= stage.max_answer_tokens for turn in turns)
        looked = len(read.sequence) + len(read.answer)
        sums[entry] += Counter({key: round(number * (1 + unseen / looked)) for key, number in seen.items()})
    if too_long:
        raise DataError(
            f"{len(too_long)} records have a question that leaves no room for an answer: {some(list(too_long))}; raise "
            f"{name}.max_sequence_tokens from {stage.max_sequence_tokens} to at least {max(too_long.values())}, or ask "
            "in fewer words"
        )
    return {entry: {key: counted[key] for key in COUNTS} for entry, counted in sums.items()}


def settle(index: RecordIndex, rows: range, family: Family, stage: Stage, slots: int) -> tuple[int, Doubts]:
    """What the columns say of rows.

    Args:
        index: of a data set.
        rows: those of the index that the family asks.
        family: the instructions.
        stage: the stage's section of the configuration.
        slots: image slots of an image.

    Returns:
        Answers, and the rows whose columns leave a doubt.
    """
    prompt, most = stage.prompt, stage.max_answer_tokens
    more, start = growth(prompt.end_mark), slots + prompt.bos_in_training
    first = later = asks = 0
    if prompt.template:
        template = max(len(template.encode()) for template in TEMPLATES[family])
        first = template + len(prompts.prompt_text(prompt, "").replace(IMAGE_MARK, "").encode())
        later = template + len(prompts.next_turn_text(prompt, "").replace(BOS_MARK, " ").encode())
        asks = more
    answers, at = 0, rows.start
    found: list[tuple[NDArray[np.int64], ...]] = []
    names = ("turns", "first_question_bytes", "question_bytes", "answer_bytes", "longest_answer_bytes")
    for columns in zip(*(index.column(column, rows) for column in names), strict=True):
        turns, first_asked, asked, answered, longest = (column.astype(np.int64) for column in columns)
        asked_most = start + first + (turns - 1) * later + asks * asked
        refused = start + first + asks * first_asked + 2 > stage.max_sequence_tokens
        long = asked_most + np.minimum(more * answered + turns, most * turns) > stage.max_sequence_tokens
        cut = more * longest >= most
        found.append(tuple(np.flatnonzero(w) + at for w in (refused, long & ~refused, cut & ~long & ~refused)))
        answers += int(turns.sum())
        at += len(turns)
    return answers, Doubts(*map(np.concatenate, zip(*found, strict=True)))


def token_counter(tokenizer: PreTrainedTokenizerBase) -> Callable[[str], int]:
    """Counts the tokens of a text, several times faster than ``encode_text``.

    Not in parallel: forked workers of the loader would wait for ever for threads that they do not have.
    """
    backend = tokenizer.backend_tokenizer
    backend.encode_special_tokens = True  # as of ``prompts.encode_text``
    return lru_cache(maxsize=65536)(lambda text: len(backend.encode(text, add_special_tokens=False)))


def _drawn(doubts: Doubts, most: int, name: tuple[str, ...]) -> tuple[Doubts, int]:
    """Doubts to look at, so many of them evenly drawn where there are more, and how many are left."""
    split = len(doubts.sequence)
    total = split + len(doubts.answer)
    if total <= most:
        return doubts, 0
    drawn = np.sort(permuted(np.arange(most), total, np.zeros(most, np.int64), ("fit", *name)))
    kept = doubts.sequence[drawn[drawn < split]], doubts.answer[drawn[drawn >= split] - split]
    return Doubts(doubts.question, *kept), total - most


def _most(turn: Turn, stage: Stage, count: Callable[[str], int]) -> int:
    """Tokens of the longest answer of a turn."""
    return max(count(defuse(answer, stage.prompt.end_mark)) for answer in turn.answers)

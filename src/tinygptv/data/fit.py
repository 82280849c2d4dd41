"""Whether the records of a stage fit its limits: all of them are looked at before the first step.

What will be cut is counted, and a question that is too long is found here rather than at the step that draws it. Texts
are tokenised only where their bytes leave a doubt: a byte-level tokenizer makes at most one token of a byte.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from tinygptv.data import prompts
from tinygptv.data.marks import IMAGE_MARK, defuse
from tinygptv.data.order import Draw
from tinygptv.data.tasks import TEMPLATES
from tinygptv.ground.errors import DataError
from tinygptv.ground.tables import some

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from tinygptv.config import Prompt, Stage
    from tinygptv.data.prompts import Example
    from tinygptv.data.records import Record

COUNTS = ("answers", "cut_answers", "left_out_turns")


class QuestionTooLongError(DataError):
    """A record's first question leaves no room for an answer in the sequences of a stage."""

    def __init__(self, record: str, tokens: int, longest: int) -> None:
        super().__init__(
            f"record {record}: its question has {tokens} tokens, which leaves no room for an answer in the "
            f"max_sequence_tokens {longest} of the stage"
        )
        self.needed = tokens + 2
        """Tokens of the question, one of an answer, and the end mark."""


def check(
    name: str,
    stage: Stage,
    records: Mapping[str, Sequence[Record]],
    tokenizer: PreTrainedTokenizerBase,
    slots: int,
    example: Callable[[Draw], Example],
) -> dict[str, dict[str, int]]:
    """Count what a stage will cut.

    Args:
        name: the stage.
        stage: its section of the configuration.
        records: entry of the mixture to its records.
        tokenizer: a byte-level one.
        slots: image slots of an image.
        example: makes the sample of a draw, for the few records in doubt.

    Returns:
        Entry of the mixture to ``answers``, and how many of them are cut (``cut_answers``) or left out with their
        questions (``left_out_turns``), each by the template that leaves least room.

    Raises:
        DataError: questions leave no room for an answer.
    """
    count = token_counter(tokenizer)
    found: dict[str, dict[str, int]] = {}
    too_long: dict[str, int] = {}
    for entry, of_entry in records.items():
        sums = Counter[str]()
        most = _bound(entry, stage.prompt, slots)
        for number, record in enumerate(of_entry):
            answers = [defuse(turn.answer, stage.prompt.end_mark) for turn in record.turns]
            sizes = [_size(answer, stage.max_answer_tokens, count) for answer in answers]
            sums["answers"] += len(sizes)
            if (
                most(record) + sum(min(size + 1, stage.max_answer_tokens) for size in sizes)
                <= stage.max_sequence_tokens
            ):
                sums["cut_answers"] += sum(size >= stage.max_answer_tokens for size in sizes)
                continue
            drawn = []
            for template in range(len(TEMPLATES[entry])):
                try:
                    drawn.append(example(Draw(entry, number, template)))
                except QuestionTooLongError as error:
                    too_long[record.id] = max(error.needed, too_long.get(record.id, 0))
            sums["cut_answers"] += max((sample.cut_answers for sample in drawn), default=0)
            sums["left_out_turns"] += max((sample.left_out_turns for sample in drawn), default=0)
        found[entry] = {key: sums[key] for key in COUNTS}
    if too_long:
        raise DataError(
            f"{len(too_long)} records have a question that leaves no room for an answer: {some(list(too_long))}; raise "
            f"{name}.max_sequence_tokens from {stage.max_sequence_tokens} to at least {max(too_long.values())}, or ask "
            "in fewer words"
        )
    return found


def token_counter(tokenizer: PreTrainedTokenizerBase) -> Callable[[str], int]:
    """Counts the tokens of a text, several times faster than ``encode_text``.

    Not in parallel: forked workers of the loader would wait for ever for threads that they do not have.
    """
    backend = tokenizer.backend_tokenizer
    backend.encode_special_tokens = True  # as of ``prompts.encode_text``
    return lru_cache(maxsize=65536)(lambda text: len(backend.encode(text, add_special_tokens=False)))


def _size(answer: str, limit: int, count: Callable[[str], int]) -> int:
    """Tokens of an answer, or, below the limit, at most so many."""
    size = len(answer.encode())
    return size if size < limit else count(answer)


def _bound(task: str, prompt: Prompt, slots: int) -> Callable[[Record], int]:
    """The most tokens that the questions of a record can have."""
    start = slots + prompt.bos_in_training
    if not prompt.template:
        return lambda _: start
    longest = max(len(template.encode()) for template in TEMPLATES[task])
    first = start + longest + len(prompts.prompt_text(prompt, "").replace(IMAGE_MARK, "").encode())
    later = longest + len(prompts.next_turn_text(prompt, "").encode())

    def most(record: Record) -> int:
        asked = sum(len(defuse(turn.question, prompt.end_mark).encode()) for turn in record.turns)
        return first + (len(record.turns) - 1) * later + asked

    return most

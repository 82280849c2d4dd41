"""How long the records of a user are in tokens, so that a stage's limits cut nothing in silence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tinygptv.data import prompts
from tinygptv.data.marks import BOS_MARK, IMAGE_MARK, defuse
from tinygptv.data.tasks import TEMPLATES
from tinygptv.ground.errors import DataError
from tinygptv.own_data.amounts import rounded_up

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from tinygptv.config import Prompt, Task
    from tinygptv.data.records import Record

SPARE = 1.25
"""Room for records that are not in the sample."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of a stage that hold what was looked at."""

    answer: int
    sequence: int
    cut: int
    """Records that are longer than the model has positions."""


def limits_of(
    sample: Sequence[Record],
    task: Task | None,
    prompt: Prompt,
    tokenizer: PreTrainedTokenizerFast | None,
    *,
    slots: int,
    positions: int,
    whole: bool,
) -> Limits:
    """Limits that hold a sample of records, with room for others.

    Args:
        sample: some of the records.
        task: what the turns of each are asked as; None: the task of the record.
        prompt: of the stage.
        tokenizer: of the model; None: tokens are bounded by bytes.
        slots: image slots of an image.
        positions: tokens of the longest sequence that the model has.
        whole: whether the sample has all records.

    Raises:
        DataError: a question alone is longer than the model has positions.
    """
    count = _counter(tokenizer)
    longest_answer = longest = cut = 0
    for record in sample:
        turns = [[turn] for turn in record.turns] if task is not None else [list(record.turns)]
        for asked in turns:
            total = slots + prompt.bos_in_training
            for place, turn in enumerate(asked):
                templates = TEMPLATES[task or record.task]
                question = max(turn.questions, key=count)
                words = max(templates, key=len).replace("{}", defuse(question, prompt.end_mark))
                text = prompts.turn_text(prompt, words, first=place == 0) if prompt.template else ""
                total += count(text.replace(IMAGE_MARK, "").replace(BOS_MARK, " "))
                if place == 0 and total + 2 > positions:
                    raise DataError(
                        f"record {record.id}: its question has {total} tokens, and the model has {positions} positions "
                        "for question and answer; shorten the question, or take another model with --from"
                    )
                answer = max(count(defuse(text, prompt.end_mark)) for text in turn.answers) + 1
                longest_answer = max(longest_answer, answer)
                total += answer
            cut += total > positions
            longest = max(longest, total)
    spare = 1.0 if whole else SPARE
    return Limits(
        answer=min(rounded_up(longest_answer * spare), positions),
        sequence=min(rounded_up(longest * spare), positions),
        cut=cut,
    )


def _counter(tokenizer: PreTrainedTokenizerFast | None) -> Callable[[str], int]:
    if tokenizer is None:
        return lambda text: len(text.encode())
    from tinygptv.data.fit import token_counter

    return token_counter(tokenizer)

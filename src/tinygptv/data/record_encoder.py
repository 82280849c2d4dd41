"""From a record to the tokens that a stage trains: the one place for training and for who looks before it."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

from tinygptv.data import prompts
from tinygptv.data.fit import QuestionTooLongError
from tinygptv.data.prompts import IGNORE_INDEX, Example
from tinygptv.data.tasks import instruction

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from tinygptv.config import Family, Stage
    from tinygptv.data.index import ImagePlace
    from tinygptv.data.records import Record, Turn

Texts = tuple[str, str]
"""Question and answer of a turn."""


class RecordEncoder:
    """The one way from a record to what a stage trains of it."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stage: Stage, *, image_token_id: int, slots: int) -> None:
        """Encode for a stage.

        Args:
            tokenizer: a byte-level one.
            stage: the stage's section of the configuration.
            image_token_id: token id of an image slot.
            slots: image slots of an image.

        Raises:
            DataError: the stage's end mark is several tokens.
        """
        self._tokenizer = tokenizer
        self._stage = stage
        self._image_token_id = image_token_id
        self._slots = slots
        self._end_id = prompts.end_mark_id(tokenizer, stage.prompt.end_mark)
        # Instructions repeat (107 questions in easy-VQA); a bounded cache serves large data sets as well.
        self._prompt_ids = lru_cache(maxsize=65536)(self._encode_prompt)
        self._answer_ids = lru_cache(maxsize=65536)(self._encode_answer)

    def example(
        self,
        record: Record,
        family: Family,
        template: int,
        texts_of: Callable[[int, Turn], Texts],
        *,
        pictured: bool,
        place: ImagePlace | None = None,
    ) -> Example:
        """A record, tokenised; turns that would make it longer than ``max_sequence_tokens`` are left out.

        Args:
            record: the record.
            family: the instructions to ask with.
            template: number of the instruction.
            texts_of: the question and the answer to take of a turn, by its number and itself.
            pictured: whether it has an image.
            place: where that lies, for whoever reads it.

        Raises:
            QuestionTooLongError: the first question leaves no room for an answer.
        """
        input_ids: list[int] = []
        labels: list[int] = []
        cut = kept = 0
        for i, turn in enumerate(record.turns):
            asked, answered = texts_of(i, turn)
            question = self._prompt_ids(instruction(family, asked, template), i == 0, pictured)
            whole = self._answer_ids(answered)
            answer = self._end(whole, self._stage.max_answer_tokens)
            room = self._stage.max_sequence_tokens - len(input_ids) - len(question)
            if len(answer) > room:
                if i > 0:
                    break
                if room < 2:
                    raise QuestionTooLongError(record.id, len(question), self._stage.max_sequence_tokens)
                answer = self._end(whole, room)
            cut += len(answer) <= len(whole)
            input_ids += question + answer
            labels += [IGNORE_INDEX] * len(question) + answer
            kept += 1
        return Example(record.id, place, input_ids, labels, cut, len(record.turns) - kept)

    def longest(self, turn: Turn) -> Texts:
        """Of the wordings and the answers of a turn those with most tokens, the first of equals."""
        question, answer = (
            max(texts, key=lambda text: len(self._answer_ids(text))) if len(texts) > 1 else texts[0]
            for texts in (turn.questions, turn.answers)
        )
        return question, answer

    def _encode_prompt(self, asked: str, first: bool, pictured: bool) -> list[int]:
        prompt = self._stage.prompt
        text = prompts.turn_text(prompt, asked, first=first, pictured=pictured)
        return prompts.encode_prompt(
            self._tokenizer,
            text,
            image_token_id=self._image_token_id,
            slots=self._slots,
            bos=first and prompt.bos_in_training,
        )

    def _encode_answer(self, answer: str) -> list[int]:
        return prompts.encode_answer(self._tokenizer, answer, self._stage.prompt.end_mark)

    def _end(self, answer_ids: list[int], max_tokens: int) -> list[int]:
        return prompts.end_answer(self._tokenizer, answer_ids, end_id=self._end_id, max_tokens=max_tokens)

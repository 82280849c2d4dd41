"""Training batches of a stage: the k-th one is a pure function of the records, the features, the seed and k.

Shapes: B samples, T tokens, Q queries, D width.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from tinygptv.data import fit, prompts
from tinygptv.data.fit import QuestionTooLongError
from tinygptv.data.order import Draw, SampleOrder
from tinygptv.data.prompts import IGNORE_INDEX, Example
from tinygptv.data.tasks import instruction, record_task
from tinygptv.ground.errors import DataError
from tinygptv.ground.tables import plain_table, some

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

    from tinygptv.config import Stage
    from tinygptv.data.features import FeatureReader
    from tinygptv.data.records import ImageRecord, Record


@dataclass(frozen=True, slots=True)
class Batch:
    """One forward pass, padded on the right."""

    record_ids: tuple[str, ...]
    input_ids: torch.Tensor
    """Token ids [B, T]."""
    attention_mask: torch.Tensor
    """1 for tokens, 0 for padding [B, T]."""
    labels: torch.Tensor
    """Token ids of answers and end marks, ``IGNORE_INDEX`` elsewhere [B, T]."""
    image_features: torch.Tensor
    """Q-Former outputs [B, Q, D]."""

    @property
    def target_tokens(self) -> int:
        """Tokens that carry loss."""
        return int((self.labels != IGNORE_INDEX).sum())


def batch_digest(batches: Iterable[Batch]) -> str:
    """16 hexadecimal digits that stand for the records of a step, in their order."""
    records = "\n".join(record for batch in batches for record in batch.record_ids)
    return hashlib.sha256(records.encode()).hexdigest()[:16]


class StageBatches:
    """All batches of a stage."""

    def __init__(
        self,
        images: Iterable[ImageRecord],
        features: FeatureReader,
        tokenizer: PreTrainedTokenizerBase,
        stage: Stage,
        *,
        name: str,
        image_token_id: int,
        num_query_tokens: int,
        seed: int,
    ) -> None:
        self._features = features
        self._name = name
        self._tokenizer = tokenizer
        self._stage = stage
        self._image_token_id = image_token_id
        self._slots = num_query_tokens
        self._end_id = prompts.end_mark_id(tokenizer, stage.prompt.end_mark)
        self._records: dict[str, list[tuple[str, Record]]] = {record_task(task): [] for task in stage.mixture}
        for image in images:
            for record in image.records:
                if record.task in self._records:
                    self._records[record.task].append((image.key, record))
        # A step has one place for each sample, or, with a table of batch sizes, one place that takes all of them.
        self._places = stage.batch_size if isinstance(stage.batch_size, int) else 1
        self.order = SampleOrder(
            sizes={task: len(self._records[record_task(task)]) for task in stage.mixture},
            weights=stage.mixture,
            samples=stage.batch_size if isinstance(stage.batch_size, dict) else dict.fromkeys(stage.mixture, 1),
            epoch_size=stage.steps_per_epoch * self._places,
            seed=seed,
            stage=name,
        )
        # Instructions repeat (107 questions in easy-VQA); a bounded cache serves large data sets as well.
        self._prompt_ids = lru_cache(maxsize=65536)(self._encode_prompt)
        self._answer_ids = lru_cache(maxsize=65536)(self._encode_answer)

    def check(self) -> dict[str, dict[str, int]]:
        """Look at all records before the first step; see ``fit.check``.

        Raises:
            DataError: an image has no features, or a question leaves no room for an answer.
        """
        keys = dict.fromkeys(key for of_task in self._records.values() for key, _ in of_task)
        if absent := [key for key in keys if key not in self._features]:
            raise DataError(f"no features of {len(absent)} images: {some(absent)}; run `dvc repro features`")
        records = {
            str(task): [record for _, record in self._records[record_task(task)]] for task in self._stage.mixture
        }
        return fit.check(self._name, self._stage, records, self._tokenizer, self._slots, self.example)

    def mixing(self) -> str:
        """What the stage will see of each entry of its mixture, as a table for a terminal."""
        stage, quotas = self._stage, self.order.quotas
        rows = []
        for entry, weight in stage.mixture.items():
            records = len(self._records[record_task(entry)])
            samples = stage.batch_size[entry] if isinstance(stage.batch_size, dict) else 1
            seen = quotas[entry] * samples * stage.epochs * stage.repeats
            share = quotas[entry] / sum(quotas.values())
            rows.append((str(entry), f"{records:,}", f"{weight:g}", f"{share:.2%}", f"{seen / records:,.2f}"))
        return plain_table(("mixture", "records", "weight", "share", "passes"), rows, right=(1, 2, 3, 4))

    def draws(self, step: int) -> list[Draw]:
        """What an optimizer step, counted from 0, takes, sample by sample."""
        places = range(step * self._places, (step + 1) * self._places)
        return [draw for place in places for draw in self.order.draws(place)]

    def batch(self, step: int) -> list[Batch]:
        """The micro-batches of an optimizer step, counted from 0."""
        samples = [self.example(draw) for draw in self.draws(step)]
        size = self._stage.micro_batch_size
        return [self._collate(samples[i : i + size]) for i in range(0, len(samples), size)]

    def example(self, draw: Draw) -> Example:
        """A sample, tokenised; turns that would make it longer than ``max_sequence_tokens`` are left out.

        Raises:
            QuestionTooLongError: the first question leaves no room for an answer.
        """
        image_key, record = self._records[record_task(draw.task)][draw.record]
        input_ids: list[int] = []
        labels: list[int] = []
        cut = kept = 0
        for i, turn in enumerate(record.turns):
            asked = instruction(draw.task, turn.question, draw.template)
            question = self._prompt_ids(asked, i == 0)
            whole = self._answer_ids(turn.answer)
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
        return Example(record.id, image_key, input_ids, labels, cut, len(record.turns) - kept)

    def _encode_prompt(self, asked: str, first: bool) -> list[int]:
        prompt = self._stage.prompt
        text = prompts.turn_text(prompt, asked, first=first)
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

    def _collate(self, samples: list[Example]) -> Batch:
        import torch

        longest = max(len(sample.input_ids) for sample in samples)
        padding = self._tokenizer.pad_token_id

        def pad(rows: list[list[int]], value: int) -> torch.Tensor:
            return torch.tensor([row + [value] * (longest - len(row)) for row in rows])

        return Batch(
            record_ids=tuple(sample.record_id for sample in samples),
            input_ids=pad([s.input_ids for s in samples], padding),
            attention_mask=pad([[1] * len(s.input_ids) for s in samples], 0),
            labels=pad([s.labels for s in samples], IGNORE_INDEX),
            image_features=self._features.batch([s.image_key for s in samples]),
        )

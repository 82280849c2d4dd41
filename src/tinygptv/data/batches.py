"""Training batches of a stage: the k-th one is a pure function of the records, the features, the seed and k.

A record is read when it is drawn; in memory are the columns of an index, mapped, and some tokenised texts.

Shapes: B samples, N images, T tokens, Q queries, D width.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from tinygptv.data import fit, prompts
from tinygptv.data.order import Draw, SampleOrder
from tinygptv.data.prompts import IGNORE_INDEX, Example
from tinygptv.data.record_encoder import RecordEncoder, Texts
from tinygptv.data.tasks import MAX_TURNS
from tinygptv.ground.tables import plain_table

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

    from tinygptv.config import Stage
    from tinygptv.data.features import FeatureReader
    from tinygptv.data.in_loop import PixelReader
    from tinygptv.data.mixture import MixtureEntry
    from tinygptv.data.records import Turn


@dataclass(frozen=True, slots=True)
class Batch:
    """One forward pass, padded on the right."""

    record_ids: tuple[str, ...]
    input_ids: torch.Tensor
    """Token ids [B, T]."""
    attention_mask: torch.Tensor
    """1 for tokens, 0 for padding and what ``prompts.attended`` leaves out [B, T]."""
    labels: torch.Tensor
    """Token ids of answers and end marks, ``IGNORE_INDEX`` elsewhere [B, T]."""
    image_features: torch.Tensor
    """Q-Former outputs [N, Q, D] of the N samples that have an image, in their order; their pixels [N, C, H, W] on the
    way to a loop that encodes them (``data/in_loop.py``)."""

    @property
    def target_tokens(self) -> int:
        """Tokens that carry loss."""
        return int((self.labels != IGNORE_INDEX).sum())

    @property
    def needs_mask(self) -> bool:
        """Whether something before a token is not attended to; padding behind all of them no causal attention sees."""
        return bool((self.attention_mask.diff(dim=1) > 0).any())


def batch_digest(record_ids: Iterable[str]) -> str:
    """16 hexadecimal digits that stand for the records of a step, in their order."""
    return hashlib.sha256("\n".join(record_ids).encode()).hexdigest()[:16]


class StageBatches:
    """All batches of a stage."""

    def __init__(
        self,
        entries: Mapping[str, MixtureEntry],
        features: FeatureReader | PixelReader,
        tokenizer: PreTrainedTokenizerBase,
        stage: Stage,
        *,
        name: str,
        image_token_id: int,
        query_shape: tuple[int, int],
        seed: int,
    ) -> None:
        """Plan the batches; nothing is read yet.

        Args:
            entries: of the stage's mixture.
            features: of the images of their data sets, or their pixels, to be encoded in the loop.
            tokenizer: a byte-level one.
            stage: the stage's section of the configuration.
            name: the stage.
            image_token_id: token id of an image slot.
            query_shape: Q and D of an image's features.
            seed: the pipeline's.

        Raises:
            DataError: an entry has no records, or a share that is no place of an epoch.
        """
        self.entries = entries
        self._features = features
        self._name = name
        self._tokenizer = tokenizer
        self._stage = stage
        self._query_shape = query_shape
        self._encoder = RecordEncoder(tokenizer, stage, image_token_id=image_token_id, slots=query_shape[0])
        # A step has one place for each sample, or, with a table of batch sizes, one place that takes all of them.
        self._places = stage.batch_size if isinstance(stage.batch_size, int) else 1
        self.order = SampleOrder(
            sizes={entry: len(rows) for entry, rows in entries.items()},
            weights=stage.mixture,
            samples=stage.batch_size if isinstance(stage.batch_size, dict) else dict.fromkeys(stage.mixture, 1),
            epoch_size=stage.steps_per_epoch * self._places,
            seed=seed,
            stage=name,
        )

    def check(self) -> dict[str, dict[str, int]]:
        """Look at the columns of all records before the first step; see ``fit.check``.

        Raises:
            DataError: tars or features are missing, these are of other shards, or a question leaves no room for an
                answer.
        """
        for index in {entry.index.dataset: entry.index for entry in self.entries.values()}.values():
            index.check()
            self._features.check(index.dataset, {number: sha256 for number, (sha256, _) in index.blocks.items()})
        return fit.check(
            self._name, self._stage, self.entries, self._tokenizer, self._query_shape[0], self._longest_example
        )

    def mixing(self) -> str:
        """What the stage will see of each entry of its mixture, as a table for a terminal."""
        stage, quotas = self._stage, self.order.quotas
        rows = []
        for entry, weight in stage.mixture.items():
            records = len(self.entries[entry])
            samples = stage.batch_size[entry] if isinstance(stage.batch_size, dict) else 1
            seen = quotas[entry] * samples * stage.epochs * stage.repeats
            share = quotas[entry] / sum(quotas.values())
            rows.append((entry, f"{records:,}", f"{weight:g}", f"{share:.2%}", f"{seen / records:,.2f}"))
        return plain_table(("data set", "records", "weight", "share", "passes"), rows, right=(1, 2, 3, 4))

    def draws(self, step: int) -> list[Draw]:
        """What an optimizer step, counted from 0, takes, sample by sample."""
        places = range(step * self._places, (step + 1) * self._places)
        return [draw for place in places for draw in self.order.draws(place)]

    def batch(self, step: int, wanted: Callable[[int], Iterable[int]] = range) -> list[Batch]:
        """The micro-batches of an optimizer step, counted from 0.

        Args:
            step: the step.
            wanted: how many there are → which of them shall be made, where several processes share the step.
        """
        draws, size = self.draws(step), self._stage.micro_batch_size
        parts = [draws[i : i + size] for i in range(0, len(draws), size)]
        return [self._collate([self.example(draw) for draw in parts[number]]) for number in wanted(len(parts))]

    def example(self, draw: Draw) -> Example:
        """A sample, tokenised; turns that would make it longer than ``max_sequence_tokens`` are left out.

        Raises:
            QuestionTooLongError: the first question leaves no room for an answer.
            DataError: the record cannot be read.
        """
        row = self.entries[draw.entry].rows[draw.record]
        return self._example(draw.entry, row, draw.template, lambda place, turn: _drawn(turn, draw, place))

    def _longest_example(self, entry: str, row: int, template: int) -> Example:
        """The sample of a row of an index that leaves least room: of wordings and accepted answers the longest ones."""
        return self._example(entry, row, template, lambda _, turn: self._encoder.longest(turn))

    def _example(self, entry: str, row: int, template: int, texts_of: Callable[[int, Turn], Texts]) -> Example:
        source = self.entries[entry]
        record, image = source.index.record(row)
        family, place = source.family or record.task, source.index.place(row)
        return self._encoder.example(record, family, template, texts_of, pictured=image is not None, place=place)

    def _collate(self, samples: list[Example]) -> Batch:
        import torch

        lengths_B = np.array([len(sample.input_ids) for sample in samples])
        there_BT = np.arange(lengths_B.max()) < lengths_B[:, None]

        def pad(rows: Iterable[list[int]], value: int) -> torch.Tensor:
            padded_BT = np.full(there_BT.shape, value, np.int64)
            padded_BT[there_BT] = np.fromiter(chain.from_iterable(rows), np.int64)
            return torch.from_numpy(padded_BT)

        images = [sample.image for sample in samples if sample.image is not None]
        return Batch(
            record_ids=tuple(sample.record_id for sample in samples),
            input_ids=pad((s.input_ids for s in samples), self._tokenizer.pad_token_id),
            attention_mask=pad((prompts.attended(s.input_ids, self._tokenizer.pad_token_id) for s in samples), 0),
            labels=pad((s.labels for s in samples), IGNORE_INDEX),
            image_features=self._features.batch(images) if images else torch.empty(0, *self._query_shape),
        )


def _drawn(turn: Turn, draw: Draw, place: int) -> Texts:
    """The question of a turn, of several wordings each as often, and its answer."""
    wordings = turn.questions
    which = int(draw.fraction(MAX_TURNS + place) * len(wordings)) if len(wordings) > 1 else 0
    return wordings[which], _drawn_answer(turn, draw, place)


def _drawn_answer(turn: Turn, draw: Draw, place: int) -> str:
    """The answer of a turn: of several accepted ones, each as often as its weight says."""
    if not turn.accepted:
        return turn.answer
    left = draw.fraction(place) * sum(weight for _, weight in turn.accepted)
    for text, weight in turn.accepted:
        left -= weight
        if left < 0:
            return text
    return turn.answer  # the weights' sum was rounded up

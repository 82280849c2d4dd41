"""Held-out questions that are put to a model while it trains, and what its answers count.

Shapes: N images, Q queries, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np

from tinygptv.config import parse_entry
from tinygptv.data.records import TASKS
from tinygptv.data.tasks import record_task
from tinygptv.data.views import open_view
from tinygptv.evaluation.answering import block_requests, ended
from tinygptv.evaluation.benchmarks.table import asks_of_set
from tinygptv.evaluation.presets import Asking
from tinygptv.evaluation.questions import Questions, evenly_spaced
from tinygptv.evaluation.stages import processor_of
from tinygptv.evaluation.statistics import number
from tinygptv.evaluation.tally import Tally, guessed
from tinygptv.ground.errors import DataError
from tinygptv.training.batches import images_of

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from tinygptv.config import Config, DataSet, Stage, Task
    from tinygptv.data.index import ImagePlace, RecordIndex
    from tinygptv.evaluation.benchmarks.table import Ask
    from tinygptv.evaluation.questions import Question
    from tinygptv.model.modeling import TinyGPTVForConditionalGeneration
    from tinygptv.model.processing import TinyGPTVProcessor
    from tinygptv.training.batches import Encode

    Features = Callable[[Sequence[ImagePlace]], torch.Tensor]


class HeldOutQuestions:
    """Some questions of the held-out part of a stage's data sets, put in the form in which the stage trains them.

    All of it lies in memory: ``validation.questions`` bounds it.
    """

    def __init__(
        self,
        name: str,
        stage: Stage,
        sets: Mapping[str, DataSet],
        indexes: Mapping[str, RecordIndex],
        *,
        processor: TinyGPTVProcessor,
        features: Features,
        positions: int,
    ) -> None:
        """Choose and read the questions, and the features of their images.

        Args:
            name: the stage.
            stage: its section of the configuration; its looks ask questions.
            sets: the section ``data``.
            indexes: data set → the index of its held-out part.
            processor: that of the stage's model.
            features: where images lie → their Q-Former outputs [N, Q, D].
            positions: tokens of prompt and answer together at most; what is longer is not asked.

        Raises:
            DataError: nothing is held out of which a benchmark has a number, or a record, features or an image are
                damaged.
        """
        assert stage.validation is not None and stage.validation.questions is not None
        self._processor, self._batch_size, self._limit = processor, stage.micro_batch_size, stage.max_answer_tokens
        how = Asking(
            preset="as_trained",
            prompts=dict.fromkeys(TASKS, stage.prompt),
            batch_size=self._batch_size,
            max_new_tokens=self._limit,
            max_answer_tokens=self._limit,
        )
        found = Questions(list(asks_in(stage, sets)), indexes)
        limit = max(1, stage.validation.questions // max(1, len(found.counts())))
        chosen = evenly_spaced(found, limit)
        requests = block_requests(processor, chosen, list(chosen), how)
        room = [len(request.prompt_ids) + self._limit <= positions for request in requests]
        self._questions = chosen.some(np.flatnonzero(room))
        self._listed = list(self._questions)
        self._asks = {ask.name: ask for ask in found.asks if _has_number(ask, self._listed)}
        if not self._asks:
            raise DataError(
                f"{name}.validation.questions: no benchmark has a number for what its data sets hold out; set it to "
                "null, with `keep: loss`"
            )
        self._requests = block_requests(processor, self._questions, self._listed, how)
        places = {request.image: self._place(at, indexes) for at, request in enumerate(self._requests)}
        self._features_NQD = features([places[image] for image in sorted(places)])

    def __len__(self) -> int:
        return len(self._listed)

    def score(self, model: TinyGPTVForConditionalGeneration) -> float:
        """The mean of what each benchmark's number is; one that is undefined for these answers counts 0.

        Args:
            model: in evaluation mode; nothing in it changes, and nothing is drawn.

        Raises:
            NotFiniteError: the model computes infinities or NaN.
        """
        from tinygptv.model.answerer import Answerer
        from tinygptv.model.inference import VisionLanguageModel

        asked = VisionLanguageModel(model, self._processor)
        answerer = Answerer(asked, self._batch_size, max_new_tokens=self._limit)
        tallies = {name: Tally(ask, None) for name, ask in self._asks.items()}
        responses = answerer.answer(self._features_NQD.to(model.language_model.device), self._requests)
        for question, request, response in zip(self._listed, self._requests, responses, strict=True):
            if question.benchmark in tallies:
                tallies[question.benchmark].add(question, ended(response, request))
        kept = [tally.columns() for tally in tallies.values()]
        return fmean(number(of.metric, of.columns_QC) or 0.0 for of in kept)

    def _place(self, at: int, indexes: Mapping[str, RecordIndex]) -> ImagePlace:
        place = indexes[self._listed[at].dataset].place(int(self._questions.places["row"][at]))
        assert place is not None
        return place


def held_out_questions(
    config: Config, name: str, *, shards: Path, backbones: Path, features: Path, encode: Encode | None
) -> HeldOutQuestions:
    """The questions that the looks of a stage ask; arguments as of ``training.batches.held_out_batches``.

    Raises:
        UserError: as ``HeldOutQuestions`` does; or there is no view of the shards or features, or no tokenizer.
    """
    import torch

    stage, indexes, size = config.stage(name), open_view(shards, name), config.features.batch_size
    images = images_of(stage, name, "val", indexes, features)

    def rows(places: Sequence[ImagePlace]) -> torch.Tensor:
        parts = (images.batch(places[start : start + size]) for start in range(0, len(places), size))
        return torch.cat([part if encode is None else encode(part) for part in parts])

    return HeldOutQuestions(
        name,
        stage,
        config.data,
        {dataset: splits["val"] for dataset, splits in indexes.items() if "val" in splits},
        processor=processor_of(config, name, backbones),
        features=rows,
        positions=config.model.text.max_position_embeddings,
    )


def asks_in(stage: Stage, sets: Mapping[str, DataSet]) -> Iterator[Ask]:
    """What is asked of the records that a stage trains on.

    Args:
        stage: its section of the configuration.
        sets: the section ``data``.

    Raises:
        ConfigError: a set's files are not of its benchmark's form.
    """
    tasks: dict[str, set[Task]] = {}
    for text in stage.mixture:
        dataset, family = parse_entry(text)
        tasks.setdefault(dataset, set()).update(TASKS if family is None else [record_task(family)])
    for dataset, trained in tasks.items():
        for ask in asks_of_set(dataset, sets[dataset]):
            if ask.task in trained or trained.issuperset(TASKS):
                yield ask
            elif ask.task is None:
                yield from (replace(ask, name=f"{ask.name}_{task}", task=task) for task in sorted(trained))


def _has_number(ask: Ask, listed: Sequence[Question]) -> bool:
    """Whether a benchmark has a number for some questions, if they are answered right."""
    truths = [question.annotation for question in listed if question.benchmark == ask.name]
    metric, benchmark = ask.benchmark.official[0], ask.benchmark
    right = [guessed(benchmark, truth, benchmark.guess(truth)) for truth in truths]
    return bool(truths) and number(metric, metric.columns(truths, right)) is not None

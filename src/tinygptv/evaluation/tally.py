"""The answers to one benchmark's questions, counted as they come: what is kept is numbers, not answers.

Shapes: Q questions, C numbers that a metric keeps of each.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygptv.evaluation.statistics import by_kind, counted, interval, number

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tinygptv.evaluation.baselines import Baselines
    from tinygptv.evaluation.benchmarks.seam import Benchmark, Metric, Numbers, Prediction, Truth
    from tinygptv.evaluation.benchmarks.table import Ask
    from tinygptv.evaluation.questions import Question
    from tinygptv.model.answerer import Response

BLOCK = 512
"""Questions that are judged together."""


@dataclass(frozen=True, slots=True)
class Columns:
    """What the metric that decides keeps of the questions, in their order."""

    metric: Metric
    columns_QC: Numbers
    images_Q: Sequence[int]
    """Equal numbers: the same image."""


class Tally:
    """Of one benchmark."""

    def __init__(self, ask: Ask, baselines: Baselines | None) -> None:
        """Nothing was answered yet; without baselines an entry has none."""
        self.ask, self._baselines = ask, baselines
        benchmark = ask.benchmark
        self._official = [_Kept(metric) for metric in benchmark.official]
        self._authors = [_Kept(metric) for metric in benchmark.authors]
        self._constant, self._blind = _Kept(benchmark.official[0]), _Kept(benchmark.official[0])
        self._waiting: list[tuple[Question, Response]] = []
        self._images = array("q")
        self._types: list[str] = []
        self._chances = array("d")
        self._cut = 0
        self._task = ""

    def __len__(self) -> int:
        return len(self._images)

    def add(self, question: Question, response: Response) -> None:
        """Count an answer."""
        self._task = question.task
        self._images.append(int.from_bytes(question.image[:8], signed=True))
        self._types.append(sys.intern(question.type))
        self._cut += response.cut
        if self.ask.benchmark.chance is not None:
            self._chances.append(self.ask.benchmark.chance(question.annotation))
        self._waiting.append((question, response))
        if len(self._waiting) == BLOCK:
            self._judge()

    def columns(self) -> Columns:
        """What the metric that decides keeps so far."""
        self._judge()
        first = self._official[0]
        return Columns(first.metric, first.columns(), self._images)

    def entry(self, preset: str) -> dict[str, Any]:
        """What a report has under the benchmark's name; every number has six decimals, null where it is undefined."""
        self._judge()
        benchmark = self.ask.benchmark
        chances = np.asarray(self._chances)[counted(self._official[0].columns())] if self._chances else np.zeros(0)
        return {
            **self._figures(np.arange(len(self))),
            "cut": self._cut,
            "variant": benchmark.official[0].variant,
            "official": {kept.metric.name: kept.told() for kept in self._official},
            "authors": {kept.metric.name: kept.told() for kept in self._authors} or None,
            "chance": rounded(float(chances.mean())) if len(chances) else None,
            "expected": self.ask.expected,
            "excluded": len(self) - int(counted(self._official[0].columns()).sum()),
            "preset": preset,
            "baselines_of": self._baselines.chosen_on if self._baselines else None,
        }

    def by_type(self) -> dict[str, dict[str, Any]]:
        """Kind of question → its figures; the baselines are those of the whole benchmark, on the kind's questions."""
        self._judge()
        places = by_kind(self._types)
        order = [kind for kind in self.ask.benchmark.types if kind in places]
        order += [kind for kind in places if kind not in order]
        return {kind: self._figures(places[kind]) for kind in order}

    def _figures(self, places: NDArray[np.int64]) -> dict[str, Any]:
        """The numbers of the metric that decides, of some questions."""
        first = self._official[0]
        columns_QC = first.columns()[places]
        ends = interval(first.metric, columns_QC, [self._images[place] for place in places])
        constant = number(first.metric, self._constant.columns()[places]) if self._baselines else None
        blind = number(first.metric, self._blind.columns()[places]) if self._asks_words else None
        return {
            "metric": first.metric.name,
            "value": rounded(number(first.metric, columns_QC)),
            "n": int(counted(columns_QC).sum()),
            "ci95": None if ends is None else [round(end, 6) for end in ends],
            "majority": rounded(constant) if self._asks_words else None,
            "blind": rounded(blind),
            "trivial": None if self._asks_words else rounded(constant),
        }

    @property
    def _asks_words(self) -> bool:
        """Whether there are baselines, and a question has words that could give its answer away."""
        return self._baselines is not None and self._task == "vqa"

    def _judge(self) -> None:
        """What the metrics keep of the answers that wait."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        benchmark = self.ask.benchmark
        truths = [question.annotation for question, _ in waiting]
        predictions = [benchmark.predict(question.annotation, response) for question, response in waiting]
        for kept in (*self._official, *self._authors):
            kept.add(truths, predictions)
        if self._baselines is None:
            return
        self._constant.add(truths, [guessed(benchmark, t, self._baselines.constant) for t in truths])
        if self._asks_words:
            guesses = [self._baselines.question_only(question.content) for question, _ in waiting]
            self._blind.add(truths, [guessed(benchmark, t, g) for t, g in zip(truths, guesses, strict=True)])


def guessed(benchmark: Benchmark, truth: Truth, guess: str) -> Prediction:
    """What counts of an answer that needed no image."""
    if benchmark.as_response is not None:
        return benchmark.predict(truth, benchmark.as_response(guess))
    from tinygptv.model.answerer import Response

    return benchmark.predict(truth, Response(text=guess, tokens=0, cut=False, logprob=float("nan")))


def credit(benchmark: Benchmark, truth: Truth, response: Response) -> float | None:
    """What an answer counts by itself, by the first official metric that has a number for one question alone."""
    said = benchmark.predict(truth, response)
    for metric in benchmark.official:
        if metric.by is None and not metric.whole:
            found = number(metric, metric.columns([truth], [said]))
            if found is not None:
                return found
    return None


def rounded(value: float | None) -> float | None:
    """A number as the reports have it."""
    return None if value is None else round(value, 6)


class _Kept:
    """The columns of one metric, from predictions that come in blocks."""

    def __init__(self, metric: Metric) -> None:
        self.metric = metric
        self._parts: list[Numbers] = []
        self._kinds: list[str] = []
        self._truths: list[Truth] = []
        self._predictions: list[Prediction] = []

    def add(self, truths: Sequence[Truth], predictions: Sequence[Prediction]) -> None:
        if self.metric.by is not None:
            self._kinds += map(self.metric.by, truths)
        if self.metric.whole:
            self._truths += truths
            self._predictions += predictions
            self._parts = []
        else:
            self._parts.append(self.metric.columns(truths, predictions))

    def columns(self) -> Numbers:
        if self.metric.whole and self._truths and not self._parts:
            self._parts = [self.metric.columns(self._truths, self._predictions)]
        if len(self._parts) > 1:
            self._parts = [np.concatenate(self._parts)]
        return self._parts[0] if self._parts else np.zeros((0, 1))

    def told(self) -> Any:
        """The number, or with kinds the number of each."""
        columns_QC = self.columns()
        if self.metric.by is None:
            return rounded(number(self.metric, columns_QC))
        return {kind: rounded(number(self.metric, columns_QC[at])) for kind, at in by_kind(self._kinds).items()}

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

from tinygptv.evaluation.kept import KeptColumns
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
class DecidingColumns:
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
        self._first = benchmark.official[0]
        self._kept = KeptColumns((*benchmark.official, *benchmark.authors))
        self._constant, self._blind = KeptColumns([self._first]), KeptColumns([self._first])
        self._waiting: list[tuple[Question, Response]] = []
        self._images = array("Q")
        self._types: list[str] = []
        self._chances = array("d")
        self._cut = 0
        self._task = ""

    def __len__(self) -> int:
        return len(self._images)

    def add(self, question: Question, response: Response) -> None:
        """Count an answer."""
        self._task = question.task
        self._images.append(int.from_bytes(question.image[:8]))  # in the order of their keys
        self._types.append(sys.intern(question.type))
        self._cut += response.cut
        if self.ask.benchmark.chance is not None:
            self._chances.append(self.ask.benchmark.chance(question.annotation))
        self._waiting.append((question, response))
        if len(self._waiting) == BLOCK:
            self._judge()

    def columns(self) -> DecidingColumns:
        """What the metric that decides keeps so far."""
        self._judge()
        return DecidingColumns(self._first, self._kept.columns(self._first), self._images)

    def entry(self, preset: str) -> dict[str, Any]:
        """What a report has under the benchmark's name; every number has six decimals, null where it is undefined."""
        self._judge()
        benchmark = self.ask.benchmark
        chances = np.asarray(self._chances)[counted(self._kept.columns(self._first))] if self._chances else np.zeros(0)
        return {
            **self._figures(np.arange(len(self))),
            "cut": self._cut,
            "variant": benchmark.official[0].variant,
            "official": {metric.name: self._told(metric) for metric in benchmark.official},
            "authors": {metric.name: self._told(metric) for metric in benchmark.authors} or None,
            "authors_ci95": self._authors_ends(),
            "chance": rounded(float(chances.mean())) if len(chances) else None,
            "expected": self.ask.expected,
            "excluded": len(self) - int(counted(self._kept.columns(self._first)).sum()),
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
        columns_QC = self._kept.columns(self._first)[places]
        ends = interval(self._first, columns_QC, np.asarray(self._images)[places])
        constant = number(self._first, self._constant.columns(self._first)[places]) if self._baselines else None
        blind = number(self._first, self._blind.columns(self._first)[places]) if self._asks_words else None
        return {
            "metric": self._first.name,
            "value": rounded(number(self._first, columns_QC)),
            "n": int(counted(columns_QC).sum()),
            "ci95": None if ends is None else [round(end, 6) for end in ends],
            "majority": rounded(constant) if self._asks_words else None,
            "blind": rounded(blind),
            "trivial": None if self._asks_words else rounded(constant),
        }

    def _authors_ends(self) -> list[float] | None:
        """The interval of the first number of the authors' count; None where it has none."""
        metric = next((metric for metric in self.ask.benchmark.authors if metric.by is None), None)
        ends = None if metric is None else interval(metric, self._kept.columns(metric), np.asarray(self._images))
        return None if ends is None else [round(end, 6) for end in ends]

    def _told(self, metric: Metric) -> Any:
        """The number, or with kinds the number of each."""
        return self._kept.told(metric, lambda columns_QC, _: rounded(number(metric, columns_QC)))

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
        self._kept.add(truths, predictions)
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
    """What an answer counts by itself, by the first official metric that has a number for one question alone.

    None where there is none: a metric of all answers together, such as CIDEr, may give a true answer nothing by itself.
    """

    def alone(metric: Metric, said: Prediction) -> float | None:
        return number(metric, metric.columns([truth], [said]))

    said = benchmark.predict(truth, response)
    for metric in (metric for metric in benchmark.official if metric.by is None):
        if metric.whole and not alone(metric, guessed(benchmark, truth, benchmark.guess(truth))):
            return None
        if (found := alone(metric, said)) is not None:
            return found
    return None


def rounded(value: float | None) -> float | None:
    """A number as the reports have it."""
    return None if value is None else round(value, 6)

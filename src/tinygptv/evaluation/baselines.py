"""What a model without eyes would reach: answers chosen on training data alone, where a data set has any.

For the test set they are chosen on the whole training split of the same data set (the images that train and those held
out of it), for the held-out slice on the images that train, so that no answer is copied. A data set that is only asked
has none: its answers are chosen on what is asked itself, which flatters them. Ties go to what comes first in the data.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Literal

import numpy as np

from tinygptv.data.boxes import Box, format_box, parse_box
from tinygptv.evaluation.metrics.boxes import IOU_THRESHOLD, iou
from tinygptv.evaluation.questions import evenly_spaced, open_questions

if TYPE_CHECKING:
    from pathlib import Path

    from tinygptv.evaluation.benchmarks.table import Ask
    from tinygptv.evaluation.questions import Question, Questions

MOST = 1_000_000
"""Training questions of a benchmark that are read."""
DIFFERENT = 1_000_000
"""Different answers that are counted, and different answers to different questions; later ones are not."""


@dataclass(frozen=True, slots=True)
class Baselines:
    """Answers that need no image to the questions of one benchmark."""

    chosen_on: Literal["training", "split"]
    constant: str
    """The most frequent answer to any question; of boxes the one that is right most often."""
    by_question: Mapping[bytes, str]
    """Digest of a question's text → its most frequent answer."""

    def question_only(self, content: str) -> str:
        """The answer that ignores the image; the constant one where the question never came."""
        return self.by_question.get(_digest(content), self.constant)


class AnswerCounts:
    """How often each answer was right, benchmark by benchmark; of single questions only those that are asked."""

    def __init__(self, asks: Iterable[Ask], *asked: Iterable[Question]) -> None:
        """Nothing is counted yet.

        Args:
            asks: what is asked.
            asked: the questions for which answers are wanted.
        """
        self._of = {ask.name: _Counts(ask) for ask in asks}
        for question in (question for questions in asked for question in questions):
            if question.task == "vqa":
                self._of[question.benchmark].asked.add(_digest(question.content))

    def add(self, questions: Iterable[Question]) -> None:
        """Count what is right of questions, in the order of the data."""
        for question in questions:
            self._of[question.benchmark].add(question)

    def baselines(self, chosen_on: Literal["training", "split"]) -> dict[str, Baselines]:
        """Benchmark → the answers that need no image, among those that were counted so far."""
        return {name: counts.baselines(chosen_on) for name, counts in self._of.items() if counts.answers}


class _Counts:
    """Of one benchmark."""

    def __init__(self, ask: Ask) -> None:
        self.asked: set[bytes] = set()
        self.answers: Counter[str] = Counter()
        self._guess = ask.benchmark.guess
        self._by_question: dict[bytes, Counter[str]] = {}
        self._pairs = 0
        self._boxes = False

    def add(self, question: Question) -> None:
        answer = self._guess(question.annotation)
        if answer in self.answers or len(self.answers) < DIFFERENT:
            self.answers[answer] += 1
        self._boxes |= question.task == "refer"
        if question.task == "vqa" and (name := _digest(question.content)) in self.asked:
            counts = self._by_question.setdefault(name, Counter())
            if answer in counts or self._pairs < DIFFERENT:
                self._pairs += answer not in counts
                counts[answer] += 1

    def baselines(self, chosen_on: Literal["training", "split"]) -> Baselines:
        constant = self.answers.most_common(1)[0][0]
        if self._boxes:
            found = ((parse_box(text), count) for text, count in self.answers.items())
            boxes = Counter({box: count for box, count in found if box is not None})
            constant = format_box(best_constant_box(boxes)) if boxes else constant
        by_question = {name: counts.most_common(1)[0][0] for name, counts in self._by_question.items() if counts}
        return Baselines(chosen_on, constant, by_question)


def read_baselines(
    shards: Path, asks: Sequence[Ask], held_out: Questions, test: Questions
) -> tuple[dict[str, Baselines], dict[str, Baselines]]:
    """As ``choose``, on the training data of a folder of shards: of each benchmark some, evenly spread, if it is many.

    Raises:
        DataError: a shard is damaged, or a data set is not the one of the view of ``evaluate``.
    """
    training, held_out_split = (evenly_spaced(open_questions(shards, split, asks), MOST) for split in ("train", "val"))
    return choose(asks, held_out, test, training, held_out_split)


def choose(
    asks: Iterable[Ask],
    held_out: Iterable[Question],
    test: Iterable[Question],
    training: Iterable[Question],
    held_out_split: Iterable[Question],
) -> tuple[dict[str, Baselines], dict[str, Baselines]]:
    """Baselines for the held-out slice and for the test set, by benchmark; all may be read several times.

    Args:
        asks: what is asked.
        held_out: the questions of the held-out slice.
        test: those of the test set.
        training: what would be asked of the images that train.
        held_out_split: what would be asked of those held out of them.
    """
    asks = tuple(asks)
    counts = AnswerCounts(asks, held_out, test)
    counts.add(training)
    first = counts.baselines("training")
    counts.add(held_out_split)
    return _completed(asks, held_out, first), _completed(asks, test, counts.baselines("training"))


def best_constant_box(boxes: Counter[Box]) -> Box:
    """The box with the highest Acc@0.5 on training boxes.

    The candidates are the whole image, the box of the coordinates' medians, and the squares around the image's
    centre with sides of 10, 20, ... 90 hundredths.
    """
    each, times = list(boxes), list(boxes.values())
    medians = [round(float(np.median(np.repeat([box[axis] for box in each], times)))) for axis in range(4)]
    candidates: list[Box] = [(0, 0, 100, 100), (medians[0], medians[1], medians[2], medians[3])]
    candidates += [(50 - half, 50 - half, 50 + half, 50 + half) for half in range(5, 50, 5)]
    return max(candidates, key=lambda box: sum(n for b, n in boxes.items() if iou(box, b) > IOU_THRESHOLD))


def _completed(asks: Iterable[Ask], asked: Iterable[Question], found: dict[str, Baselines]) -> dict[str, Baselines]:
    """With those of the benchmarks that have no training data, chosen on what is asked."""
    without = [ask for ask in asks if ask.name not in found]
    if not without:
        return found
    names = {ask.name for ask in without}
    counts = AnswerCounts(without, (question for question in asked if question.benchmark in names))
    counts.add(question for question in asked if question.benchmark in names)
    return found | counts.baselines("split")


def _digest(content: str) -> bytes:
    return blake2b(content.encode(), digest_size=8).digest()

"""Which answers are shown: some that are evenly spread, and wrong ones of which the model was most certain."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from heapq import heappush, heappushpop
from typing import TYPE_CHECKING

from tinygptv.evaluation.answer_pictures import AnswerItem
from tinygptv.evaluation.benchmarks.table import Ask, labels
from tinygptv.evaluation.tally import credit

if TYPE_CHECKING:
    from tinygptv.evaluation.questions import Question
    from tinygptv.model.answerer import Response


@dataclass(frozen=True, slots=True)
class _Shown:
    """An answer that may be shown."""

    number: int
    """Of its question, among all."""
    question: Question
    response: Response
    credit: float | None


class Gallery:
    """Chooses among answers as they come, in the order of the questions; what is not shown is forgotten."""

    def __init__(self, asks: Iterable[Ask], asked: Mapping[str, int], count: int) -> None:
        """Nothing was answered yet.

        Args:
            asks: what is asked.
            asked: name of a benchmark → how many questions it will have.
            count: images of a picture; a benchmark has one at least.
        """
        self._asks = {ask.name: ask for ask in asks if asked.get(ask.name)}
        names, self._labels = list(self._asks), labels(self._asks.values())
        total = max(count, len(names)) if names else 0
        self._wanted: dict[str, list[int]] = {name: [] for name in names}
        for place in range(total):
            name = names[place % len(names)]
            self._wanted[name].append(place * asked[name] // total)
        self._spread: dict[str, dict[int, _Shown]] = {name: {} for name in names}
        self._most = -(-total // len(names)) if names else 0
        self._wrong: dict[str, list[tuple[float, int, _Shown]]] = {name: [] for name in names}
        self._count = total
        self._seen: Counter[str] = Counter()

    def __call__(self, question: Question, response: Response) -> None:
        """See an answer."""
        name, number = question.benchmark, self._seen.total()
        place = self._seen[name]
        self._seen[name] += 1
        counts = credit(self._asks[name].benchmark, question.annotation, response)
        shown = _Shown(number, question, response, counts)
        if place in self._wanted[name]:
            self._spread[name][place] = shown
        if counts is not None and counts <= 0 and not math.isnan(response.logprob):
            heap = self._wrong[name]
            entry = (response.logprob, -number, shown)  # of equals the first
            heappush(heap, entry) if len(heap) < self._most else heappushpop(heap, entry)

    def spread(self, image_of: Callable[[int], bytes]) -> list[AnswerItem]:
        """Answers evenly spaced, the benchmarks in turn, wrong ones included as they come.

        Args:
            image_of: number of a question → the file of its image.
        """
        rows = [[self._spread[name][place] for place in places] for name, places in self._wanted.items()]
        return [self._item(shown, image_of, certain=False) for shown in self._in_turn(rows)]

    def worst(self, image_of: Callable[[int], bytes]) -> list[AnswerItem]:
        """Wrong answers of each benchmark, the most certain first, the benchmarks in turn."""
        rows = [[shown for *_, shown in sorted(heap, reverse=True)] for heap in self._wrong.values()]
        return [self._item(shown, image_of, certain=True) for shown in self._in_turn(rows)]

    def _in_turn(self, rows: list[list[_Shown]]) -> list[_Shown]:
        found = [row[place] for place in range(self._most) for row in rows if place < len(row)]
        return found[: self._count]

    def _item(self, shown: _Shown, image_of: Callable[[int], bytes], *, certain: bool) -> AnswerItem:
        question, response = shown.question, shown.response
        return AnswerItem(
            image_of(shown.number),
            self._labels[question.benchmark],
            question.task,
            question.content,
            answer_of(self._asks[question.benchmark].benchmark.choices(question.annotation), response),
            question.truth,
            shown.credit,
            math.exp(response.logprob) if certain else None,
        )


def answer_of(choices: Sequence[str], response: Response) -> str:
    """An answer as it is shown: where choices were given, the likeliest; two are compared as a whole, more by their
    mean token."""
    if not response.choices:
        return response.text
    scores = [of.logprob if len(choices) == 2 else of.logprob / of.tokens for of in response.choices]
    chosen, said = choices[scores.index(max(scores))], response.text.strip()
    return chosen if chosen == said else f"{chosen} (of the choices; said: {said})"

"""Answers in files: those that later steps and people read, and those that a benchmark's publishers take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinygptv.data.json_items import read_items
from tinygptv.evaluation.metrics import exact_match
from tinygptv.evaluation.tally import rounded
from tinygptv.ground.errors import DataError
from tinygptv.ground.json_list import json_list

if TYPE_CHECKING:
    from tinygptv.evaluation.benchmarks.table import Ask
    from tinygptv.evaluation.questions import Question
    from tinygptv.model.answerer import Response

    Keep = Callable[[Question, Response], None]


@contextmanager
def kept(path: Path) -> Iterator[Keep]:
    """Writes a list of questions with their answers, entry by entry."""
    with json_list(path) as append:
        yield lambda question, response: append(prediction(question, response))


def prediction(question: Question, response: Response) -> dict[str, Any]:
    """A question with its answer."""
    return {
        "record": question.record,
        "image": question.key,
        "task": question.task,
        "benchmark": question.benchmark,
        "question": question.content,
        "truth": question.truth,
        "answer": response.text,
        "cut": response.cut,
    }


@contextmanager
def submitted(folder: Path, asks: Iterable[Ask]) -> Iterator[Keep]:
    """Writes a file for each benchmark that has a form for submissions: a list of its entries."""
    forms = {ask.name: ask.benchmark for ask in asks if ask.benchmark.write_prediction is not None}
    with ExitStack() as stack:
        files = {name: stack.enter_context(json_list(folder / f"{name}.json")) for name in forms}

        def keep(question: Question, response: Response) -> None:
            if (benchmark := forms.get(question.benchmark)) is None:
                return
            truth, write = question.annotation, benchmark.write_prediction
            assert write is not None
            files[question.benchmark](write(question.record, benchmark.predict(truth, response), truth))

        yield keep


class Agreement:
    """How many answers are equal to those of a former model to the same questions."""

    def __init__(self, former: Path) -> None:
        """Of the answers in ``former``, which a step has written; read along, never whole."""
        self._path, self._items = former, read_items(former)
        self._equal: Counter[str] = Counter()
        self._asked: Counter[str] = Counter()

    def __call__(self, question: Question, response: Response) -> None:
        """Compare an answer with the next one.

        Raises:
            DataError: it is the answer to another question.
        """
        item = next(self._items, None)
        if item is None or (item.content["record"], item.content["question"]) != (question.record, question.content):
            raise self._other()
        self._asked[question.benchmark] += 1
        self._equal[question.benchmark] += exact_match(response.text, str(item.content["answer"]))

    def result(self) -> dict[str, Any]:
        """The share of equal answers: ``value``, of ``n`` answers, and ``by_benchmark``.

        Raises:
            DataError: the former model was asked more.
        """
        if next(self._items, None) is not None:
            raise self._other()
        asked = self._asked.total()
        return {
            "value": rounded(self._equal.total() / asked) if asked else None,
            "n": asked,
            "by_benchmark": {name: rounded(self._equal[name] / n) for name, n in self._asked.items()},
        }

    def _other(self) -> DataError:
        return DataError(
            f"{self._path} answers other questions than the test set has, or in another order, as earlier code did; "
            "run `dvc repro`, which answers them anew and registers a new version"
        )


def agreed(found: Mapping[str, Any]) -> str:
    """``Agreement.result`` in words."""
    if found["value"] is None:
        return "The test set has no question, so nothing was compared with the unquantized model."
    return f"Answers equal to the unquantized model's: {found['value']:.4f}."

"""POPE: whether a model says that objects are there which are not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinygptv.evaluation.benchmarks.instructions import task_instruction
from tinygptv.evaluation.benchmarks.seam import Benchmark, Prediction
from tinygptv.evaluation.benchmarks.submissions import name, text
from tinygptv.evaluation.benchmarks.yes_no import measures

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tinygptv.evaluation.benchmarks.seam import Truth
    from tinygptv.model.answerer import Response

NEGATIONS = frozenset({"No", "not", "no"})


def says_yes(answer: str) -> bool:
    """Whether an answer is taken for a yes: no word before its first full stop is a negation in these letters.

    Commas go, words are what single spaces part. So "NO" and "no!" are a yes, as is an empty answer.
    """
    sentence = answer.partition(".")[0].replace(",", "")
    return NEGATIONS.isdisjoint(sentence.split(" "))


def _prediction(answer: str) -> Prediction:
    return Prediction(answer=answer, choice=int(says_yes(answer)))


def _predict(_truth: Truth, response: Response) -> Prediction:
    return _prediction(response.text.strip())


def _read(entry: Mapping[str, Any]) -> tuple[str, Prediction]:
    return name(entry, "question_id"), _prediction(text(entry, "answer"))


def _write(question: str, prediction: Prediction, _truth: Truth) -> dict[str, Any]:
    return {"question_id": question, "answer": prediction.answer}


BENCHMARK = Benchmark(
    title="POPE",
    source="Li et al. 2023; evaluate.py of github.com/AoiDragon/POPE",
    official=measures("POPE evaluate.py: no where the first sentence has No, not or no as a word, else yes"),
    form="pope",
    parts={"adversarial": 3_000, "popular": 3_000, "random": 3_000},
    instruction=task_instruction,
    predict=_predict,
    read_prediction=_read,
    write_prediction=_write,
    chance=lambda _: 0.5,
    images_may_train=True,
)

"""VQA accuracy, for data of one's own: an answer counts as far as people gave it. The sets of that kind share it.

`answers` of a truth are those of the people, each by itself, or each with the number of people who gave it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygptv.evaluation.benchmarks import submissions
from tinygptv.evaluation.benchmarks.exact_match import text_of
from tinygptv.evaluation.benchmarks.instructions import task_instruction
from tinygptv.evaluation.benchmarks.seam import Benchmark, Metric, Prediction, each, mean
from tinygptv.evaluation.metrics.vqa_accuracy import VARIANTS

if TYPE_CHECKING:
    from tinygptv.evaluation.benchmarks.seam import Numbers, Truth

UNDEFINED = "no question has answers of two people or more"


def worth(answer: str, truth: Truth, variant: str) -> float:
    """What an answer is worth by a variant of VQA accuracy; NaN where fewer than two people answered."""
    given = truth["answers"]
    votes = tuple(given.values()) if isinstance(given, Mapping) else ()
    return VARIANTS[variant].accuracy(answer, list(given), votes)


def accuracy_of(variant: str) -> Metric:
    """VQA accuracy in one of its variants."""

    def row(truth: Truth, prediction: Prediction) -> tuple[float]:
        return (worth(prediction.answer, truth, variant),)

    said = f"VQA accuracy {variant}: {VARIANTS[variant].says}; each person left out in turn"
    return Metric(name="accuracy", variant=said, columns=each(row), value=mean, undefined=UNDEFINED)


def per_answer_type(metric: Metric) -> Metric:
    """The same of each kind of answer by itself: yes/no, number, other."""
    return replace(metric, name="per_answer_type", by=lambda truth: truth.get("answer_type", ""))


def part_of_a_file(values: Sequence[float | None]) -> Numbers:
    """The column [Q, 1] of one of two tasks, of which a file may answer both or one; None: it does not answer it.

    A task that a file leaves out has no number. Of one that it answers, what is left out is wrong.
    """
    left_out = 0.0 if any(value is not None for value in values) else math.nan
    return np.asarray([left_out if value is None else value for value in values], dtype=np.float64).reshape(-1, 1)


def _read(entry: Mapping[str, Any]) -> tuple[str, Prediction]:
    return submissions.name(entry, "id"), Prediction(answer=submissions.text(entry, "prediction"))


def _write(question: str, prediction: Prediction, _truth: Truth) -> dict[str, Any]:
    return {"id": question, "prediction": prediction.answer}


def read_answer(entry: Mapping[str, Any]) -> tuple[str, Prediction]:
    """``{question_id, answer}``, as VQA's server takes it."""
    return submissions.name(entry, "question_id"), Prediction(answer=submissions.text(entry, "answer"))


def write_answer(question: str, prediction: Prediction, _truth: Truth) -> dict[str, Any]:
    """The same the other way."""
    return {"question_id": submissions.as_given(question), "answer": prediction.answer}


BENCHMARK = Benchmark(
    title="VQA accuracy",
    source="Antol et al. 2015, normalised as in lmms-eval: docs/evaluation.md",
    official=(accuracy_of("D"),),
    instruction=task_instruction,
    predict=text_of,
    read_prediction=_read,
    write_prediction=_write,
)

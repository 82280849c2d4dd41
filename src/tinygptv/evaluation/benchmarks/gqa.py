"""GQA: compositional questions about real images, one answer each."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tinygptv.evaluation.benchmarks.instructions import task_instruction
from tinygptv.evaluation.benchmarks.seam import Benchmark, Metric, Prediction, each, mean
from tinygptv.evaluation.benchmarks.submissions import name, text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tinygptv.evaluation.benchmarks.seam import Truth
    from tinygptv.model.answerer import Response

STRUCTURES = ("verify", "query", "choose", "logical", "compare")


def _predict(_truth: Truth, response: Response) -> Prediction:
    return Prediction(answer=response.text.strip())


def _read(entry: Mapping[str, Any]) -> tuple[str, Prediction]:
    return name(entry, "questionId"), Prediction(answer=text(entry, "prediction"))


def _write(question: str, prediction: Prediction, _truth: Truth) -> dict[str, Any]:
    return {"questionId": question, "prediction": prediction.answer}


def _answer_type(truth: Truth) -> str:
    if not (structural := truth["structural"]):
        return ""
    return "open" if structural == "query" else "binary"


ACCURACY = Metric(
    name="accuracy",
    variant="GQA eval.py: prediction == answer, nothing normalised (LLaVA's port lowers case and drops a full stop)",
    columns=each(lambda truth, prediction: (float(prediction.answer == truth["answer"]),)),
    value=mean,
)
BENCHMARK = Benchmark(
    title="GQA",
    source="Hudson and Manning 2019; eval.py of gqadataset.org",
    official=(ACCURACY, replace(ACCURACY, name="per_answer_type", by=_answer_type)),
    authors=(
        Metric(
            name="accuracy",
            variant="TinyGPT-V eval_vqa.py: the answer has the true one in it, as a part of a word too",
            columns=each(lambda truth, prediction: (float(truth["answer"] in prediction.answer.lower()),)),
            value=mean,
        ),
    ),
    form="gqa",
    parts={"testdev_balanced": 12_578, "val_balanced": 132_062, "train_balanced": 943_000},
    paper={"testdev_balanced": 0.389},
    instruction=task_instruction,
    predict=_predict,
    read_prediction=_read,
    write_prediction=_write,
    type_of=lambda _, truth: f"gqa-{truth['structural']}" if truth["structural"] else "",
    types=tuple(f"gqa-{structure}" for structure in STRUCTURES),
)

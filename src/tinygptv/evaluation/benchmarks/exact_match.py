"""Equal text, for data of one's own: an answer counts where it is one of those that are right."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinygptv.evaluation.benchmarks.instructions import task_instruction
from tinygptv.evaluation.benchmarks.seam import Benchmark, Metric, Prediction, each, mean
from tinygptv.evaluation.metrics import exact_match

if TYPE_CHECKING:
    from tinygptv.evaluation.benchmarks.seam import Truth
    from tinygptv.model.answerer import Response


def text_of(_truth: Truth, response: Response) -> Prediction:
    """The generated text as it is."""
    return Prediction(answer=response.text)


def _right(truth: Truth, prediction: Prediction) -> tuple[float]:
    return (float(any(exact_match(prediction.answer, answer) for answer in truth["answers"])),)


EXACT_MATCH = Metric(
    name="exact match",
    variant="equal text but for white space around it; any of the answers that are right",
    columns=each(_right),
    value=mean,
)
BENCHMARK = Benchmark(
    title="exact match",
    source="this project: docs/evaluation.md",
    official=(EXACT_MATCH,),
    instruction=task_instruction,
    predict=text_of,
)

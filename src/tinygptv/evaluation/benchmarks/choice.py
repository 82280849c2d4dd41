"""The right one of several answers, for data of one's own: by likelihood, and by what is generated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from tinygptv.evaluation.benchmarks.instructions import task_instruction
from tinygptv.evaluation.benchmarks.likelihoods import lowest_loss
from tinygptv.evaluation.benchmarks.seam import Benchmark, Metric, Prediction, each, mean
from tinygptv.evaluation.benchmarks.submissions import name, place, text

if TYPE_CHECKING:
    from tinygptv.evaluation.benchmarks.seam import Numbers, Truth
    from tinygptv.model.answerer import Response


def choices_of(truth: Truth) -> tuple[str, ...]:
    """The answers to choose from; none where a question is open."""
    return tuple(truth.get("choices", ()))


def chosen(truth: Truth, prediction: Prediction) -> str:
    """The answer that a prediction is: its choice, else its text; a choice that is none is its number."""
    if prediction.choice is None:
        return prediction.answer
    choices = choices_of(truth)
    return choices[prediction.choice] if prediction.choice < len(choices) else str(prediction.choice)


def predict(truth: Truth, response: Response) -> Prediction:
    """The choice with the lowest mean loss, and the text."""
    choice = lowest_loss(response.choices) if response.choices else None
    return Prediction(answer=response.text.strip(), choice=choice)


def read_by(key: str) -> Callable[[Mapping[str, Any]], tuple[str, Prediction]]:
    """Read predictions that are a text, or the number of a choice, from 0; ``answer`` is the text generated beside it.

    Args:
        key: what has the question's id.
    """

    def read(entry: Mapping[str, Any]) -> tuple[str, Prediction]:
        question = name(entry, key)
        if isinstance(entry["prediction"], str):
            return question, Prediction(answer=entry["prediction"])
        answer = text(entry, "answer") if "answer" in entry else ""
        return question, Prediction(answer=answer, choice=place(entry, "prediction"))

    return read


def write_by(key: str) -> Callable[[str, Prediction, Truth], dict[str, Any]]:
    """The same the other way."""

    def write(question: str, prediction: Prediction, _truth: Truth) -> dict[str, Any]:
        if prediction.choice is None:
            return {key: question, "prediction": prediction.answer}
        return {key: question, "prediction": prediction.choice, "answer": prediction.answer}

    return write


def _is_right(truth: Truth, answer: str) -> bool:
    return answer in (truth.get("answers") or (truth["answer"],))


def _right(truth: Truth, prediction: Prediction) -> tuple[float]:
    if "right" in truth and prediction.choice is not None:
        return (float(prediction.choice in truth["right"]),)
    return (float(_is_right(truth, chosen(truth, prediction))),)


def _generated_right(truth: Truth, prediction: Prediction) -> tuple[float, float, float]:
    return float(_is_right(truth, prediction.answer)), float(bool(prediction.answer)), 1.0


def _generated(columns_QC: Numbers, weights_Q: Numbers) -> float:
    """Share of right texts; NaN where no question has one."""
    right, there, everywhere = (float(total) for total in weights_Q @ columns_QC)
    return right / everywhere if there else float("nan")


ACCURACY = Metric(
    name="accuracy",
    variant="of a model the choice with the lowest mean loss of its tokens, end mark included; of texts equality",
    columns=each(_right),
    value=mean,
)
GENERATED = Metric(
    name="accuracy_generated",
    variant="the generated text is the right answer",
    columns=each(_generated_right),
    value=_generated,
    undefined="no prediction has a text",
)
BENCHMARK = Benchmark(
    title="choice",
    source="this project: docs/evaluation.md",
    official=(ACCURACY, GENERATED),
    instruction=task_instruction,
    choices=choices_of,
    predict=predict,
    read_prediction=read_by("id"),
    write_prediction=write_by("id"),
    chance=lambda truth: 1 / len(choices_of(truth)) if choices_of(truth) else 0.0,
    type_of=lambda _, truth: f"choice-{truth['type']}" if truth.get("type") else "",
)

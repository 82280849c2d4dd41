"""Yes or no, for data of one's own: how often an answer is right, and how well "yes" is told from "no"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tinygptv.evaluation.benchmarks.instructions import task_instruction
from tinygptv.evaluation.benchmarks.likelihoods import share_of_first
from tinygptv.evaluation.benchmarks.seam import Benchmark, Metric, Prediction, each, mean
from tinygptv.evaluation.benchmarks.submissions import name, probability, text
from tinygptv.evaluation.metrics.ranking import auroc, ranked
from tinygptv.evaluation.metrics.two_classes import f1, outcome, precision, recall, two_way, yes_ratio

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tinygptv.evaluation.benchmarks.seam import Truth
    from tinygptv.model.answerer import Response

WORDS = ("yes", "no")


def right_columns(truth: Truth, prediction: Prediction) -> tuple[float, ...]:
    """Whether the choice (1: yes) is right; nothing where the true answer is neither."""
    positive = two_way(truth["answer"], WORDS)
    return (np.nan if positive is None else float(prediction.choice == int(positive)),)


def outcome_columns(truth: Truth, prediction: Prediction) -> tuple[float, ...]:
    """What precision, recall, F1 and the share of "yes" keep; nothing where the true answer is neither."""
    positive = two_way(truth["answer"], WORDS)
    said = None if prediction.choice is None else bool(prediction.choice)
    return (np.nan,) * 5 if positive is None else outcome(positive=positive, said=said)


def _ranked_columns(truth: Truth, prediction: Prediction) -> tuple[float, ...]:
    positive = two_way(truth["answer"], WORDS)
    return (np.nan,) * 3 if positive is None else ranked(positive=positive, score=prediction.score)


def measures(said: str) -> tuple[Metric, ...]:
    """Accuracy and the measures of "yes".

    Args:
        said: how an answer is taken for yes or no, in words.
    """
    of_yes = (
        ("precision", precision, "no answer is yes"),
        ("recall", recall, "no true answer is yes"),
        ("f1", f1, "no answer and no true answer is yes"),
        ("yes_ratio", yes_ratio, ""),
    )
    return (
        Metric(name="accuracy", variant=said, columns=each(right_columns), value=mean),
        *(
            Metric(name=key, variant=said, columns=each(outcome_columns), value=value, undefined=undefined)
            for key, value, undefined in of_yes
        ),
    )


def as_choice(said: bool | None) -> int | None:
    """Yes as 1, no as 0."""
    return None if said is None else int(said)


def _predict(_truth: Truth, response: Response) -> Prediction:
    said = two_way(response.text, WORDS)
    score = share_of_first(*response.choices) if response.choices else 0.5 if said is None else float(said)
    return Prediction(answer=response.text.strip(), score=score, choice=as_choice(said))


def _read(entry: Mapping[str, Any]) -> tuple[str, Prediction]:
    answer = text(entry, "prediction")
    score = probability(entry, "score") if "score" in entry else None
    return name(entry, "id"), Prediction(answer=answer, score=score, choice=as_choice(two_way(answer, WORDS)))


def _write(question: str, prediction: Prediction, _truth: Truth) -> dict[str, Any]:
    return {"id": question, "prediction": prediction.answer, "score": prediction.score}


BENCHMARK = Benchmark(
    title="yes or no",
    source="this project: docs/evaluation.md",
    official=(
        *measures("the whole answer is yes or no, but for letter case and a last full stop"),
        Metric(
            name="auroc",
            variant="P(yes) of yes and no, both with their end marks; equal scores count half",
            columns=each(_ranked_columns),
            value=auroc,
            additive=False,
            undefined="the truth has one class alone, or no prediction has a score",
        ),
    ),
    instruction=task_instruction,
    choices=lambda _: WORDS,
    predict=_predict,
    read_prediction=_read,
    write_prediction=_write,
    chance=lambda _: 0.5,
    type_of=lambda _, truth: f"yes_no-{truth['type']}" if truth.get("type") else "",
)

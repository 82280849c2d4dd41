"""A-OKVQA: questions that need knowledge and common sense (Schwenk et al. 2022), answered freely and by choosing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygptv.evaluation.benchmarks import submissions, vqa_accuracy
from tinygptv.evaluation.benchmarks.likelihoods import lowest_loss
from tinygptv.evaluation.benchmarks.seam import Metric, Prediction, mean
from tinygptv.evaluation.benchmarks.vqa_accuracy import part_of_a_file

if TYPE_CHECKING:
    from tinygptv.evaluation.benchmarks.seam import Numbers, Truth
    from tinygptv.model.answerer import Response

ID, DIRECT, CHOSEN = "question_id", "direct_answer", "multiple_choice"


@dataclass(frozen=True, slots=True, kw_only=True)
class AokvqaPrediction(Prediction):
    """An answer of either kind, or of both; None: the file does not have it."""

    direct_answer: str | None = None
    multiple_choice: str | None = None


def _predict(truth: Truth, response: Response) -> Prediction:
    choices, said = truth["choices"], response.text.strip()
    guessed = said if said in choices else None  # a guess has no likelihoods
    chosen = choices[lowest_loss(response.choices)] if response.choices else guessed
    return AokvqaPrediction(answer=said, direct_answer=said, multiple_choice=chosen)


def _read(entry: Mapping[str, Any]) -> tuple[str, Prediction]:
    if DIRECT not in entry and CHOSEN not in entry:
        raise KeyError(DIRECT)
    direct, chosen = (submissions.text(entry, key) if key in entry else None for key in (DIRECT, CHOSEN))
    question = submissions.name(entry, ID)
    return question, AokvqaPrediction(answer=direct or "", direct_answer=direct, multiple_choice=chosen)


def _write(question: str, prediction: Prediction, _truth: Truth) -> dict[str, Any]:
    said = {DIRECT: getattr(prediction, DIRECT, None), CHOSEN: getattr(prediction, CHOSEN, None)}
    return {ID: question} | {key: text for key, text in said.items() if text is not None}


def _direct(truths: Sequence[Truth], predictions: Sequence[Prediction]) -> Numbers:
    columns_QC = part_of_a_file(
        [
            None if (said := getattr(p, DIRECT, None)) is None else min(1.0, truth["answers"].count(said) / 3)
            for truth, p in zip(truths, predictions, strict=True)
        ]
    )
    columns_QC[np.asarray([truth["difficult"] for truth in truths], dtype=np.bool_)] = float("nan")
    return columns_QC


def _chosen(truths: Sequence[Truth], predictions: Sequence[Prediction]) -> Numbers:
    return part_of_a_file(
        [
            None if (said := getattr(p, CHOSEN, None)) is None else float(said == truth["choices"][truth["right"]])
            for truth, p in zip(truths, predictions, strict=True)
        ]
    )


BENCHMARK = replace(
    vqa_accuracy.BENCHMARK,
    title="A-OKVQA",
    source="github.com/allenai/aokvqa, evaluation/eval_predictions.py",
    official=(
        Metric(
            name=DIRECT,
            variant="min(n/3, 1), n people who gave the same text; without the questions marked as difficult to answer "
            "directly",
            columns=_direct,
            value=mean,
            whole=True,
            undefined="the file has no direct answers, or all questions are marked as difficult",
            lacks=lambda prediction: getattr(prediction, DIRECT, None) is None,
        ),
        Metric(
            name=CHOSEN,
            variant="the chosen text is the right one; of a model the choice with the lowest mean loss of its tokens",
            columns=_chosen,
            value=mean,
            whole=True,
            undefined="the file has no choices",
            lacks=lambda prediction: getattr(prediction, CHOSEN, None) is None,
        ),
    ),
    form="a_okvqa",
    parts={"val": 1_145, "train": 17_056},
    choices=lambda truth: tuple(truth["choices"]),
    predict=_predict,
    read_prediction=_read,
    write_prediction=_write,
    id_key=ID,
    images_may_train=True,
)

"""VizWiz: questions of blind people about pictures they took (Gurari et al. 2018, https://vizwiz.org).

Two tasks: the answer, and whether there is one. A file of predictions has answers, `answerability` between 0 and 1, or
both; where it has none, the answer "unanswerable" says it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tinygptv.evaluation.benchmarks import submissions, vqa_accuracy
from tinygptv.evaluation.benchmarks.instructions import task_instruction
from tinygptv.evaluation.benchmarks.seam import Metric, Prediction, each, mean
from tinygptv.evaluation.benchmarks.vqa_accuracy import accuracy_of, part_of_a_file, worth
from tinygptv.evaluation.metrics.ranking import average_precision, ranked
from tinygptv.evaluation.metrics.vqa_accuracy import vizwiz_normalised

if TYPE_CHECKING:
    from tinygptv.config import Preset, Task
    from tinygptv.evaluation.benchmarks.seam import Numbers, Truth
    from tinygptv.model.answerer import Response

UNANSWERABLE = "unanswerable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answerability(Prediction):
    """Of a file that says only whether there is an answer."""


def _answered(answer: str) -> Prediction:
    return Prediction(answer=answer, score=float(vizwiz_normalised(answer) == UNANSWERABLE))


def _instruction(preset: Preset, task: Task, content: str, truth: Truth) -> str:
    if preset != "authors_released":
        return task_instruction(preset, task, content, truth)
    return (
        f"[vqa] The question is '{content}' Based on the image, answer the question with a single word or phrase. "
        "and reply 'unanswerable' when the provided information is insufficient"
    )


def _predict(_truth: Truth, response: Response) -> Prediction:
    return _answered(response.text)


def _read(entry: Mapping[str, Any]) -> tuple[str, Prediction]:
    image = submissions.name(entry, "image")
    if "answerability" not in entry:
        return image, _answered(submissions.text(entry, "answer"))
    score = 1 - submissions.probability(entry, "answerability")
    if "answer" not in entry:
        return image, Answerability(score=score)
    return image, Prediction(answer=submissions.text(entry, "answer"), score=score)


def _write(question: str, prediction: Prediction, _truth: Truth) -> dict[str, Any]:
    return {"image": question, "answer": prediction.answer}


def _of_answers(of: Callable[[Truth, str], float]) -> Callable[[Sequence[Truth], Sequence[Prediction]], Numbers]:
    """The column of what answers are worth; of a file without any it has no number."""

    def columns(truths: Sequence[Truth], predictions: Sequence[Prediction]) -> Numbers:
        return part_of_a_file(
            [
                None if _says_no_answer(prediction) else of(truth, prediction.answer)
                for truth, prediction in zip(truths, predictions, strict=True)
            ]
        )

    return columns


def _says_no_answer(prediction: Prediction) -> bool:
    """Whether it is of a file that says only whether there is an answer, or nothing at all."""
    return isinstance(prediction, Answerability) or prediction == Prediction()


def _unanswerable(truth: Truth, prediction: Prediction) -> tuple[float, ...]:
    if "answerable" not in truth:
        return (float("nan"),) * 3
    return ranked(positive=truth["answerable"] == 0, score=prediction.score)


def _authors_worth(truth: Truth, answer: str) -> float:
    answer = answer.split("###")[0].split("Assistant:")[-1].strip().lower()
    people = [one.lower() for one in "_".join(truth["answers"]).split("_")]
    return min(sum(one in answer or answer in one for one in people) / 3, 1.0)


def _type_of(_content: str, truth: Truth) -> str:
    return f"vizwiz-{truth['answer_type']}" if "answer_type" in truth else ""


BENCHMARK = replace(
    vqa_accuracy.BENCHMARK,
    title="VizWiz",
    source="https://vizwiz.org, as in TRI-ML/vlm-evaluation, vlm_eval/util/evaluation/vizwiz/eval.py; authors: "
    "eval_vqa.py",
    official=(
        replace(
            accuracy_of("E"),
            columns=_of_answers(lambda truth, answer: worth(answer, truth, "E")),
            whole=True,
            undefined="the file has no answers",
            lacks=_says_no_answer,
        ),
        Metric(
            name="unanswerable_ap",
            variant="average precision of the unanswerable questions, without interpolation",
            columns=each(_unanswerable),
            value=average_precision,
            additive=False,
            undefined="no question is unanswerable, or no prediction says whether it is",
        ),
    ),
    authors=(
        Metric(
            name="accuracy",
            variant="min(n/3, 1), n people of whose answers one holds the other, in lower case: an empty one is right",
            columns=_of_answers(_authors_worth),
            value=mean,
            whole=True,
            undefined="the file has no answers",
        ),
    ),
    form="vizwiz",
    parts={"val": 4_319, "train": 20_523},
    paper={"val": 0.378},
    instruction=_instruction,
    predict=_predict,
    read_prediction=_read,
    write_prediction=_write,
    types=tuple(f"vizwiz-{kind}" for kind in ("yes/no", "number", "other", UNANSWERABLE)),
    type_of=_type_of,
)

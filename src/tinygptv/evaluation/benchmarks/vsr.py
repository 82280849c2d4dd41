"""VSR: statements on where things are in an image of COCO, true or false."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinygptv.evaluation.benchmarks.instructions import task_instruction
from tinygptv.evaluation.benchmarks.likelihoods import choice_accuracy, likelier_of, score_auroc
from tinygptv.evaluation.benchmarks.seam import Benchmark, Metric, Prediction, each, mean
from tinygptv.evaluation.benchmarks.submissions import name, probability, text
from tinygptv.evaluation.metrics.two_classes import two_way

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tinygptv.config import Preset, Task
    from tinygptv.evaluation.benchmarks.seam import Truth

WORDS = ("true", "false")
OF_LABEL = WORDS[::-1]
RELATIONS = {
    "adjacency": "adjacent to, alongside, at the side of, at the right side of, at the left side of, attached to, "
    "at the back of, ahead of, against, at the edge of",
    "directional": "off, past, toward, down, deep down, up, away from, along, around, from, into, to, across, "
    "across from, through, down from",
    "orientation": "facing, facing away from, parallel to, perpendicular to",
    "projective": "on top of, beneath, beside, behind, left of, right of, under, in front of, below, above, over, "
    "in the middle of",
    "proximity": "by, close to, near, far from, far away from",
    "topological": "connected to, detached from, has as a part, part of, contains, within, at, on, in, with, "
    "surrounding, consists of, out of, between, inside, outside, touching",
    "unallocated": "beyond, next to, opposite to, after, among, enclosed by",
}
"""Kind → its relations, as ``analysis_scripts/rel_meta_category_dict.txt`` of VSR has them."""
KIND_OF = {relation: kind for kind, listed in RELATIONS.items() for relation in listed.split(", ")}


def _instruction(preset: Preset, task: Task, content: str, truth: Truth) -> str:
    if preset == "authors_released":
        return f"[vqa] Based on the image, is this statement true or false? {truth['caption']}"
    return task_instruction(preset, task, content, truth)


def _read(entry: Mapping[str, Any]) -> tuple[str, Prediction]:
    """A prediction is a word, or 0 or 1 as number or text; without one, ``score`` decides. ``answer`` is what was
    generated."""
    score = probability(entry, "score") if "score" in entry else None
    choice: int | None
    if "prediction" not in entry:
        choice = int(probability(entry, "score") >= 0.5)
        answer = OF_LABEL[choice]
    elif entry["prediction"] in (0, 1, "0", "1"):
        choice = int(entry["prediction"])
        answer = OF_LABEL[choice]
    else:
        answer = text(entry, "prediction")
        said = two_way(answer, WORDS)
        choice = None if said is None else int(said)
    answer = text(entry, "answer") if "answer" in entry else answer
    return name(entry, "id"), Prediction(answer=answer, score=score, choice=choice)


def _write(question: str, prediction: Prediction, _truth: Truth) -> dict[str, Any]:
    said = "" if prediction.choice is None else OF_LABEL[prediction.choice]
    return {"id": question, "prediction": said, "score": prediction.score, "answer": prediction.answer}


def _lax(truth: Truth, prediction: Prediction) -> tuple[float]:
    return (float(truth["answer"] in prediction.answer.lower()),)


def _twice(truth: Truth, prediction: Prediction) -> tuple[float]:
    other = "yes" if truth["answer"] == WORDS[0] else "no"
    return (_lax(truth, prediction)[0] + float(other in prediction.answer.lower()),)


BENCHMARK = Benchmark(
    title="VSR",
    source="Liu, Emerson and Collier 2023; src/eval.py of github.com/cambridgeltl/visual-spatial-reasoning",
    official=(
        choice_accuracy(WORDS[0], "two classes: of a model the likelier of true and false, of texts the whole answer"),
        score_auroc(
            WORDS[0],
            "P(true) of true and false, both with their end marks; equal scores count half",
            "the truth has one class alone, or no prediction has a score",
        ),
    ),
    authors=(
        Metric(
            name="accuracy",
            variant="TinyGPT-V eval_vqa.py: the answer has the true word in it; 'true or false' always counts",
            columns=each(_lax),
            value=mean,
        ),
        Metric(
            name="accuracy_with_yes_no",
            variant="TinyGPT-V eval_scripts/eval_vqa.py: yes or no in the answer counts once more, up to 2 a question",
            columns=each(_twice),
            value=mean,
        ),
    ),
    form="vsr",
    parts={"test": 1_222, "dev": 340, "train": 3_489},
    paper={"test": 0.547},
    instruction=_instruction,
    choices=lambda _: WORDS,
    predict=likelier_of(WORDS),
    read_prediction=_read,
    write_prediction=_write,
    chance=lambda _: 0.5,
    type_of=lambda _, truth: f"vsr-{KIND_OF.get(truth['relation'], 'other')}",
    types=tuple(f"vsr-{kind}" for kind in (*RELATIONS, "other")),
    images_may_train=True,
)

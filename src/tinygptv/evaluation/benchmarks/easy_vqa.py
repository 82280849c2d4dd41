"""easy-VQA: its questions, and the boxes and captions that are made from them (``data/formats/easy_vqa.py``)."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from tinygptv.data.boxes import parse_box
from tinygptv.data.formats.easy_vqa import COLOURS, SHAPES
from tinygptv.evaluation.benchmarks import exact_match
from tinygptv.evaluation.benchmarks.seam import Benchmark, Metric, Prediction, each, mean
from tinygptv.evaluation.benchmarks.suite import Suite
from tinygptv.evaluation.metrics import acc_at_iou
from tinygptv.evaluation.metrics import exact_match as equal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tinygptv.config import Task
    from tinygptv.evaluation.benchmarks.seam import Truth

TYPES = ("what-shape", "what-colour", "yes/no-shape", "yes/no-colour", "other")


def question_type(question: str, truth: Truth) -> str:
    """The type of a question, one of ``TYPES``.

    A "what" question is sorted by its answer ("what is the red shape?" asks for a shape), a yes/no question by the
    kind of word it names. ``other`` is anything easy-VQA does not ask.
    """
    answer, words = truth["answer"], set(re.findall(r"[a-z]+", question))
    if answer in SHAPES:
        return "what-shape"
    if answer in COLOURS:
        return "what-colour"
    if answer in ("yes", "no") and words & set(SHAPES):
        return "yes/no-shape"
    if answer in ("yes", "no") and words & set(COLOURS):
        return "yes/no-colour"
    return "other"


def _hit(truth: Truth, prediction: Prediction) -> tuple[float]:
    box = parse_box(truth["answer"])
    answer = prediction.answer
    return (float(equal(answer, truth["answer"]) if box is None else acc_at_iou(answer, box)),)


BOX = Metric(
    name="Acc@0.5",
    variant="IoU > 0.5 in hundredths of the image; the whole answer is one box",
    columns=each(_hit),
    value=mean,
)
QUESTIONS = replace(
    exact_match.BENCHMARK,
    title="questions",
    source="https://github.com/vzhou842/easy-VQA, and data/formats/easy_vqa.py",
    form="easy_vqa",
    types=TYPES,
    type_of=question_type,
)
BY_TASK: Mapping[Task, Benchmark] = {
    "vqa": QUESTIONS,
    "refer": replace(QUESTIONS, title="boxes (Acc@0.5)", official=(BOX,), types=(), type_of=lambda *_: ""),
    "caption": replace(QUESTIONS, title="captions", types=(), type_of=lambda *_: ""),
}
"""What is asked of its records of each task."""

SUITE = Suite(
    names={"vqa": "easy_vqa", "refer": "easy_vqa_refer", "caption": "easy_vqa_caption"},
    labels={"easy_vqa": "questions", "easy_vqa_refer": "boxes (Acc@0.5)", "easy_vqa_caption": "captions"},
    types=TYPES,
    type_of=lambda task, question, truth: question_type(question, {"answer": truth}) if task == "vqa" else "",
)

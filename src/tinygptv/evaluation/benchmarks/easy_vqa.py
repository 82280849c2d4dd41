"""easy-VQA: its questions, and the boxes and captions that are made from them (``data/formats/easy_vqa.py``)."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from tinygptv.data.formats.easy_vqa import COLOURS, SHAPES
from tinygptv.evaluation.benchmarks import acc_at_iou, exact_match

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tinygptv.config import Task
    from tinygptv.evaluation.benchmarks.seam import Benchmark, Truth

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
    "refer": replace(
        QUESTIONS, title="boxes (Acc@0.5)", official=(acc_at_iou.ACC_AT_IOU,), types=(), type_of=lambda *_: ""
    ),
    "caption": replace(QUESTIONS, title="captions", types=(), type_of=lambda *_: ""),
}
"""What is asked of its records of each task."""

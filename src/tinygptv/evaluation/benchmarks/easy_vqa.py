"""easy-VQA: its questions, and the boxes and captions that are made from them (``data/formats/easy_vqa.py``)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tinygptv.data.formats.easy_vqa import COLOURS, SHAPES
from tinygptv.evaluation.benchmarks.suite import Suite

if TYPE_CHECKING:
    from tinygptv.config import Task

TYPES = ("what-shape", "what-colour", "yes/no-shape", "yes/no-colour", "other")


def question_type(task: Task, question: str, truth: str) -> str:
    """The type of a vqa question, one of ``TYPES``; nothing of other tasks.

    A "what" question is sorted by its answer ("what is the red shape?" asks for a shape), a yes/no question by the
    kind of word it names. ``other`` is anything easy-VQA does not ask.
    """
    if task != "vqa":
        return ""
    words = set(re.findall(r"[a-z]+", question))
    if truth in SHAPES:
        return "what-shape"
    if truth in COLOURS:
        return "what-colour"
    if truth in ("yes", "no") and words & set(SHAPES):
        return "yes/no-shape"
    if truth in ("yes", "no") and words & set(COLOURS):
        return "yes/no-colour"
    return "other"


SUITE = Suite(
    names={"vqa": "easy_vqa", "refer": "easy_vqa_refer", "caption": "easy_vqa_caption"},
    labels={"easy_vqa": "questions", "easy_vqa_refer": "boxes (Acc@0.5)", "easy_vqa_caption": "captions"},
    types=TYPES,
    type_of=question_type,
)

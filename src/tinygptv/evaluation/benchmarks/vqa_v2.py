"""VQA v2: questions about COCO's images with ten answers each (Goyal et al. 2017, https://visualqa.org)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tinygptv.evaluation.benchmarks import vqa_accuracy
from tinygptv.evaluation.benchmarks.vqa_accuracy import accuracy_of, per_answer_type, read_answer, write_answer

if TYPE_CHECKING:
    from tinygptv.evaluation.benchmarks.seam import Truth

ACCURACY = accuracy_of("B")


def _type_of(_content: str, truth: Truth) -> str:
    return f"vqa_v2-{truth['answer_type']}" if "answer_type" in truth else ""


BENCHMARK = replace(
    vqa_accuracy.BENCHMARK,
    title="VQA v2",
    source="github.com/GT-Vision-Lab/VQA, PythonEvaluationTools/vqaEvaluation/vqaEval.py",
    official=(ACCURACY, per_answer_type(ACCURACY)),
    form="vqa",
    parts={"val": 214_354, "train": 443_757},
    read_prediction=read_answer,
    write_prediction=write_answer,
    types=("vqa_v2-yes/no", "vqa_v2-number", "vqa_v2-other"),
    type_of=_type_of,
    images_may_train=True,
)

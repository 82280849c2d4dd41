"""IconQA: questions about drawings; each sub-task is a part of its own."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tinygptv.data.formats.iconqa import PARTS
from tinygptv.evaluation.benchmarks import choice
from tinygptv.evaluation.benchmarks.instructions import task_instruction
from tinygptv.evaluation.benchmarks.seam import Metric, each, mean

if TYPE_CHECKING:
    from tinygptv.config import Preset, Task
    from tinygptv.evaluation.benchmarks.seam import Prediction, Truth


def _instruction(preset: Preset, task: Task, content: str, truth: Truth) -> str:
    """The authors' prompts of this benchmark alone have a space before the assistant's mark."""
    words = task_instruction(preset, task, content, truth)
    return f"{words} " if preset == "authors_released" else words


def _lax(truth: Truth, prediction: Prediction) -> tuple[float]:
    said, answer = choice.chosen(truth, prediction), truth["answer"]
    return (float(said in answer or answer in said),)


BENCHMARK = replace(
    choice.BENCHMARK,
    title="IconQA",
    source="Lu et al. 2021; tools/sub_acc.py of github.com/lupantech/IconQA",
    authors=(
        Metric(
            name="accuracy",
            variant="TinyGPT-V eval_vqa.py: one of chosen and right answer has the other in it",
            columns=each(_lax),
            value=mean,
        ),
    ),
    form="iconqa",
    parts=PARTS,
    instruction=_instruction,
    read_prediction=choice.read_by("pid"),
    write_prediction=choice.write_by("pid"),
)

"""IconQA: questions about drawings; each sub-task is a part of its own."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

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
    parts={
        **{"choose_txt_test": 6_316, "choose_txt_val": 6_316, "choose_txt_train": 18_946},
        **{"fill_in_blank_test": 3_638, "fill_in_blank_val": 3_638, "fill_in_blank_train": 10_913},
        **{"choose_img_test": 11_535, "choose_img_val": 11_535, "choose_img_train": 34_603},
    },
    paper={"choose_txt_val": 0.447},
    instruction=_instruction,
    read_prediction=choice.read_by("pid"),
    write_prediction=choice.write_by("pid"),
)

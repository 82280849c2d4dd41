"""The words of a question where a benchmark has none of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinygptv.data.tasks import instruction

if TYPE_CHECKING:
    from tinygptv.config import Preset, Task
    from tinygptv.evaluation.benchmarks.seam import Truth


def task_instruction(preset: Preset, task: Task, content: str, _truth: Truth) -> str:
    """The instruction that evaluation uses of a task; the authors' released benchmarks ask for a short answer.

    Source: the authors' ``eval_vqa.py`` and ``eval_ref.py``.
    """
    return instruction(task, content, 1 if (preset, task) == ("authors_released", "vqa") else 0)

"""How questions are put: as the model was trained, or as the authors' released benchmark code puts them.

Source of the latter: the authors' ``eval_vqa.py``, ``eval_ref.py`` and ``minigpt4/common/eval_utils.py``; they put
nothing between question and answer's head, begin without a BOS token, and do not stop at the end mark. Here an answer
ends at the end mark in both, so that a model that runs on is not helped.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tinygptv.config.training import Prompt
from tinygptv.evaluation.asking import Asking
from tinygptv.ground.names import LAST_STAGE

if TYPE_CHECKING:
    from tinygptv.config import Config, Preset, Task

MEASURED: tuple[Task, ...] = ("vqa", "refer", "caption")
"""Tasks that benchmarks ask."""
AUTHORS_RELEASED = Prompt(
    template="###Human: {}###Assistant: ", end_mark="###", bos_in_training=False, bos_at_inference=False
)
"""Their prompt has no space before ``###Assistant``, that of their training has one."""


def stage_asking(config: Config, stage: str, preset: Preset) -> Asking:
    """How a stage's model is asked."""
    settings = config.evaluate
    return Asking(
        preset=preset,
        prompts=_prompts(config, stage) if preset == "as_trained" else dict.fromkeys(MEASURED, AUTHORS_RELEASED),
        end_mark=None if preset == "as_trained" else AUTHORS_RELEASED.end_mark,
        batch_size=settings.batch_size,
        max_new_tokens=settings.max_new_tokens,
        max_answer_tokens=config.stage(stage).max_answer_tokens,
    )


def package_asking(config: Config, preset: Preset) -> Asking:
    """How a package is asked: prompt and longest answer are its own, or the authors'."""
    return Asking(
        preset=preset,
        prompts=None if preset == "as_trained" else dict.fromkeys(MEASURED, AUTHORS_RELEASED),
        end_mark=None if preset == "as_trained" else AUTHORS_RELEASED.end_mark,
        batch_size=config.quantize.batch_size,
        max_new_tokens=None,
        max_answer_tokens=config.stage(LAST_STAGE).max_answer_tokens,
    )


def _prompts(config: Config, stage: str) -> Mapping[Task, Prompt]:
    """For captions the stage's own form, for what it was not taught that of the last stage."""
    last = config.stage(LAST_STAGE).prompt
    return {"vqa": last, "refer": last, "caption": config.stage(stage).prompt}

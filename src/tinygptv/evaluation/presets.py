"""How questions are put: as the model was trained, or as the authors' released benchmark code puts them.

Source of the latter: the authors' ``eval_vqa.py``, ``eval_ref.py`` and ``minigpt4/common/eval_utils.py``. Their prompt
begins without a BOS token and has no space before ``###Assistant``, where that of their training has one. They do not
stop at the end mark; here an answer ends there in both, so that a model that runs on is not helped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from tinygptv.config.training import Prompt
from tinygptv.data.records import TASKS
from tinygptv.ground.names import LAST_STAGE

if TYPE_CHECKING:
    from tinygptv.config import Config, Preset, Task

AUTHORS_RELEASED = Prompt(
    template="###Human: {}###Assistant: ",
    end_mark="###",
    bos_in_training=False,
    bos_at_inference=False,
    bos_between_turns=False,  # their benchmarks have no later turns
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """How a model is asked."""

    preset: Preset
    """By which a benchmark chooses its words."""
    prompts: Mapping[Task, Prompt] | None
    """Task → form of its prompt, whose end mark ends an answer; None: the model's own."""
    batch_size: int
    """Questions, and images, of a forward pass."""
    max_new_tokens: int | None
    """Longest answer; None: the model's own."""
    max_answer_tokens: int | None
    """Earlier answers of a conversation are cut to so many, as they were in training; None: they are whole."""

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON, for the key of what is stored."""
        forms = None if self.prompts is None else {task: form.model_dump() for task, form in self.prompts.items()}
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return values | {"prompts": forms}


def asking_of(
    preset: Preset,
    own: Mapping[Task, Prompt] | None,
    *,
    batch_size: int,
    max_new_tokens: int | None,
    max_answer_tokens: int | None,
) -> Asking:
    """How a model is asked whose own forms of prompts are known; None: by the model alone."""
    released = preset == "authors_released"
    return Asking(
        preset=preset,
        prompts=dict.fromkeys(TASKS, AUTHORS_RELEASED) if released else own,
        batch_size=batch_size,
        max_new_tokens=max_new_tokens,
        max_answer_tokens=max_answer_tokens,
    )


def stage_asking(config: Config, stage: str, preset: Preset) -> Asking:
    """How a stage's model is asked."""
    return asking_of(
        preset,
        prompts_of(config, stage),
        batch_size=config.evaluate.batch_size,
        max_new_tokens=config.evaluate.max_new_tokens,
        max_answer_tokens=config.stage(stage).max_answer_tokens,
    )


def prompts_of(config: Config, stage: str) -> dict[Task, Prompt]:
    """How a stage is asked: for captions in its own form, for what it was not taught in that of the last stage."""
    return dict.fromkeys(TASKS, config.stage(LAST_STAGE).prompt) | {"caption": config.stage(stage).prompt}

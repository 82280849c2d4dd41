"""What all sections of the configuration share: names, constrained numbers, strictness."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Task = Literal["vqa", "caption", "grounding", "refer", "identify", "detection", "conversation"]
Family = Literal[Task, "align"]
"""Instructions to ask with: those of a task, or the alignment prompts, which ask for captions."""
Part = Literal["projection", "input_norm", "qk_norm", "rms_norm", "final_norm", "norm_biases", "lora"]
"""What may train: projections, the language model's norms (weights) by kind, their biases, adapters."""
Preset = Literal["as_trained", "authors_released"]
"""How a benchmark's questions are put: in the words that the model was trained with, or as the authors' released
benchmark code puts them."""
Count = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Rate = Annotated[float, Field(ge=0.0, lt=1.0)]
Positive = Annotated[float, Field(gt=0.0)]


class Section(BaseModel):
    """A section refuses unknown keys, wrong types and changes after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

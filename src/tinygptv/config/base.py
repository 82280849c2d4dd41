"""What all sections of the configuration share: names, constrained numbers, strictness."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Task = Literal["vqa", "caption", "grounding", "refer", "identify", "detection"]
DataSet = Literal[
    "laion",
    "cc_sbu",
    "cc_sbu_align",
    "multitask_conversation",
    "llava_conversation",
    "llava_detail",
    "llava_reason",
    "unnatural_instruction",
    "flickr_grounded_caption",
    "flickr_CaptionToPhrase",
    "flickr_ObjectToPhrase",
    "textcaps_caption",
    "coco_caption",
    "coco_vqa",
    "ok_vqa",
    "aok_vqa",
    "gqa",
    "ocrvqa",
    "refcoco",
    "refcocop",
    "refcocog",
    "refvg",
    "invrefcoco",
    "invrefcocop",
    "invrefcocog",
]
"""Training sets of the paper, by the names of the authors' configuration."""
Part = Literal["projection", "input_norm", "qk_norm", "rms_norm", "final_norm", "norm_biases", "lora"]
"""What may train: projections, the language model's norms (weights) by kind, their biases, adapters."""
Count = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Rate = Annotated[float, Field(ge=0.0, lt=1.0)]
Positive = Annotated[float, Field(gt=0.0)]


class Section(BaseModel):
    """A section refuses unknown keys, wrong types and changes after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

"""Section `backbones`: where the frozen parts come from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tinygptv.config.base import Count, Fraction, Positive, Rate, Section, Task
from tinygptv.config.training import Prompt, Schedule


class Pretraining(Section):
    """One stand-in's training in the `backbones` step."""

    steps: Count = Field(description="Optimizer steps.")
    batch_size: Count = Field(description="Images, or sequences, of a step.")
    learning_rate: Schedule
    hold_steps: Annotated[int, Field(ge=0)] = Field(description="Steps at full rate between warm-up and cosine.")
    muon_learning_rate: Positive = Field(description="Muon's rate when AdamW's is at `init`; it follows its course.")
    norm_rate_factor: Positive = Field(description="Norm weights learn this many times as fast; they do not decay.")
    weight_decay: Rate = Field(description="Decay of all other parameters.")


class VisionPretraining(Pretraining):
    """Image-text contrast of image tower and Q-Former."""

    edge_weight: Positive = Field(description="Weight of the box's edges beside the caption.")
    edge_blur: Positive = Field(description="Standard deviation of an edge's target, in hundredths of the image.")
    edge_smoothing: Positive = Field(description="Likeness of neighbouring marks at the start, in hundredths.")
    caption_scale: Positive = Field(description="Inverse temperature of captions at the start; it is learned.")
    edge_scale: Positive = Field(description="Inverse temperature of edges at the start; it is learned.")
    position_scale: Positive = Field(description="Size of the position embeddings at the start.")
    patch_std: Positive = Field(description="Standard deviation of the patch embedding at the start.")


class TextPretraining(Pretraining):
    """Next-token prediction on texts made from training records."""

    reading_steps: Annotated[int, Field(ge=0)] = Field(description="First steps, on short texts without boxes.")
    reading_mixture: dict[Task | Literal["plain", "check"], Positive] = Field(
        description="Task → weight of its documents in those; `check`: is a word in the description."
    )
    mixture: dict[Task | Literal["plain", "check"], Positive] = Field(
        description="Task → weight of its documents after that; `plain`: a description and its caption."
    )
    checks: Count = Field(description="Words that a `check` document asks for.")
    prompt: Prompt
    caption_end_mark: str = Field(description="Ends a `plain` document, as the end mark of stage 1 ends a caption.")
    given_weight: Fraction = Field(description="Weight of the loss on the given text; answers have 1.")


class Pretrained(Section):
    """Small stand-ins, trained on the shards."""

    source: Literal["pretrain"] = Field(description="This kind of source.")
    data: tuple[str, ...] = Field(description="Data sets whose training images and texts they are trained on.")
    vision: VisionPretraining
    text: TextPretraining


TOWERS_OF = {"Salesforce/blip2-flan-t5-xxl": "eva", "LAVIS/blip2-vitL": "clip"}
"""Published Q-Formers to the tower that each was trained on (`model.vision.tower`); of others the step tells by their
widths."""


class Published(Section):
    """Published weights, pinned by revision and SHA-256 in `configs/backbones.lock.json`."""

    source: Literal["hub"] = Field(description="This kind of source.")
    language_model: str = Field(description="Repository of the language model and its tokenizer.")
    image_encoder: str = Field(description="Repository of the image tower and Q-Former, or LAVIS' files for CLIP.")
    folder: str = Field(description="Folder that holds the files already; empty: they are downloaded.")


class Taken(Section):
    """Those that the section `init` names."""

    source: Literal["init"] = Field(description="This kind of source.")


Backbones = Pretrained | Published | Taken

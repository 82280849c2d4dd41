"""Sections `stage1` to `stage4`."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from tinygptv.config.base import Count, Part, Positive, Rate, Section
from tinygptv.config.data import parse_entry


class Schedule(Section):
    """Learning rate: linear warm-up, then half a cosine (the authors' `linear_warmup_cosine_lr`)."""

    init: Positive = Field(description="Rate at the end of the warm-up.")
    min: Annotated[float, Field(ge=0.0)] = Field(description="Rate at the end of the cosine.")
    warmup: Annotated[float, Field(ge=0.0)] = Field(description="Rate of the first step.")
    warmup_steps: Annotated[int, Field(ge=0)] = Field(description="Steps of the warm-up.")


def one_place(template: str) -> bool:
    """Whether a prompt's template has one place for the instruction, or is empty."""
    return not template or template.count("{}") == 1


class Prompt(Section):
    """How instruction and answer become one text."""

    template: str = Field(description="`{}` stands for image and instruction; empty: the image alone, no prompt.")
    end_mark: str = Field(description="Text that ends an answer.")
    bos_in_training: bool = Field(description="Sequences begin with the BOS token in training.")
    bos_at_inference: bool = Field(description="Prompts begin with the BOS token when answers are generated.")
    bos_between_turns: bool = Field(
        description="Later questions of a conversation begin with the BOS token, which nothing attends to."
    )

    @model_validator(mode="after")
    def _one_place_for_the_instruction(self) -> Self:
        if not one_place(self.template):
            raise ValueError(f"template: {self.template!r} needs `{{}}` exactly once, or must be empty")
        if not self.end_mark:
            raise ValueError("end_mark: must not be empty, or answers never end")
        return self


class Validation(Section):
    """Looks at the held-out part (`val`) of a stage's data sets while it trains; training does not notice them.

    The stage leaves the weights of the best look. `null`: no looks, and the weights of the last step.
    """

    every: Count = Field(
        description="Steps between two looks; there is one before the first and one after the last step, too."
    )
    batches: Count = Field(
        description="Micro-batches of a look, always the same ones; fewer where all records fit into fewer."
    )
    questions: Count | None = Field(
        description="Held-out questions that are answered at a look, always the same ones, evenly spread over the "
        "benchmarks of the sets: their mean number is the score; null: none."
    )
    keep: Literal["loss", "score"] = Field(
        description="Which look is the best: that with the lowest loss, or with the highest score, and of equals the "
        "lowest loss."
    )
    patience: Count | None = Field(
        description="Looks in a row without a better one after which the stage ends; null: it goes on to its last step."
    )

    @model_validator(mode="after")
    def _what_is_kept_is_asked(self) -> Self:
        if self.keep == "score" and self.questions is None:
            raise ValueError("keep: `score` needs a number of `questions`; without them `keep: loss`")
        return self


class Stage(Section):
    """One of the four training stages."""

    image_size: Count = Field(description="Resolution of its images, in pixels of a side.")
    features: Literal["cached", "in_loop"] = Field(
        description="Where image features come from: the step `features`, or the encoder beside the loop; equal bits."
    )
    prompt: Prompt
    trainable: tuple[Part, ...] = Field(
        description="Parts that train; norms by their weights alone. The others stay as earlier stages left them."
    )
    mixture: dict[str, Positive] = Field(
        description="Data set → weight of its share; `SET/TASK`: its records of a task; `SET/align`: its captions, "
        "asked by the alignment prompts."
    )
    steps_per_epoch: Count = Field(description="Optimizer steps of an epoch.")
    epochs: Annotated[int, Field(ge=0)] = Field(
        description="Epochs; with 0 the stage hands on what it would begin from, byte for byte."
    )
    repeats: Count = Field(description="Times that all this is done, each with a fresh optimizer and schedule.")
    batch_size: Count | dict[str, Count] = Field(
        description="Samples of a step; a table (entry of the mixture → samples) makes a step draw from one entry."
    )
    micro_batch_size: Count = Field(description="Samples of a forward pass; a divisor of `batch_size`.")
    learning_rate: Schedule
    weight_decay: Rate = Field(description="AdamW's decay of matrices.")
    betas: tuple[Rate, Rate] = Field(description="AdamW's averaging of gradient and square.")
    max_grad_norm: Positive = Field(description="Gradients above this norm are scaled down to it; `.inf`: none are.")
    max_answer_tokens: Count = Field(
        description="Longer answers are cut and counted (`cuts.json`); the end mark is kept."
    )
    max_sequence_tokens: Count = Field(
        description="Longest sequence, visual tokens included; later turns are dropped and counted (`cuts.json`)."
    )
    validation: Validation | None
    gradient_checkpointing: bool = Field(description="Blocks are computed again in the backward pass: less memory.")
    label_only_logits: bool = Field(description="The head runs only where a token carries loss: less memory.")
    packing: bool = Field(
        description="Samples of a forward pass lie in one row, without padding: faster where lengths differ; part of "
        "what decides the bits."
    )
    compile: bool = Field(
        description="Blocks are compiled before the first step: faster and less memory on a GPU; part of what decides "
        "the bits."
    )
    base_8bit: bool = Field(description="Frozen matrices of the language model in 8 bits (LLM.int8()): less memory.")
    checkpoint_every: Count = Field(description="Steps between resume points in `.state`.")
    log_every: Count = Field(description="Steps between points of the loss curve.")

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if isinstance(self.batch_size, dict):
            if self.batch_size.keys() != self.mixture.keys():
                differing = ", ".join(sorted(self.batch_size.keys() ^ self.mixture.keys()))
                raise ValueError(f"batch_size: a table needs the entries of the mixture; these differ: {differing}")
        elif self.batch_size % self.micro_batch_size:
            raise ValueError(f"micro_batch_size: {self.micro_batch_size} does not divide batch_size {self.batch_size}")
        if not self.mixture:
            raise ValueError("mixture: names no data set")
        for entry in self.mixture:
            parse_entry(entry)
        if not self.trainable:
            raise ValueError("trainable: names no part")
        return self

    @property
    def steps(self) -> int:
        """Optimizer steps of the stage."""
        return self.steps_per_repeat * self.repeats

    @property
    def micro_batches(self) -> int:
        """Of the largest step: as many processes can share it."""
        samples = max(self.batch_size.values()) if isinstance(self.batch_size, dict) else self.batch_size
        return -(-samples // self.micro_batch_size)

    @property
    def steps_per_repeat(self) -> int:
        """Optimizer steps of one course of the schedule."""
        return self.steps_per_epoch * self.epochs

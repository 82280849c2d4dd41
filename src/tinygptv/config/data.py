"""Sections `download`, `shards`, `features`, `loader`: from the data set to what training reads."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tinygptv.config.base import Count, Rate, Section


class EasyVQA(Section):
    """The data set easy-VQA, from the installed PyPI package."""

    source: Literal["easy_vqa"] = Field(description="This kind of source.")
    sha256: str = Field(description="Digest of the package's data files; another one stops the step.")


class PaperSets(Section):
    """The data sets of the paper; the stages' mixtures name them."""

    source: Literal["paper"] = Field(description="This kind of source.")


Download = EasyVQA | PaperSets


class Shards(Section):
    """WebDataset tars."""

    val_images: Count = Field(description="Training images held out for validation, the last ones in order.")
    images_per_shard: Count = Field(description="Images of one tar.")
    max_rejected: Rate = Field(description="Share of rejected records above which the step stops.")


class Features(Section):
    """Q-Former outputs, computed once per image and resolution."""

    image_sizes: tuple[Count, ...] = Field(description="Resolutions in pixels; every stage names one of them.")
    batch_size: Count = Field(description="Images of a forward pass; part of what decides the bits.")


class Loader(Section):
    """How batches are made while the loop trains. It decides how fast they come, never what they hold."""

    workers: Annotated[int, Field(ge=0)] = Field(description="Processes that make batches; 0: the loop makes them.")
    prefetch: Count = Field(description="Steps that each worker is ahead.")

"""Sections `data`, `shards`, `features`, `loader`: from data sets to what training reads."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal, NamedTuple, Self, get_args

from pydantic import Field, model_validator

from tinygptv.config.base import Count, Family, Fraction, Rate, Section, Task
from tinygptv.config.benchmarks import BENCHMARKS
from tinygptv.config.formats import FORMATS
from tinygptv.remotes.places import is_address, parse

SET_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")


class DataSet(Section):
    """A data set: its files, what they are, and what of them is held out. `NAME` is what mixtures call it."""

    format: str = Field(description="Form of the files; docs/data.md has a section on each.")
    files: tuple[str, ...] = Field(
        default=(), description="Files that hold the records, from the checkout on, or addresses."
    )
    images: str = Field(
        default="",
        description="Folder that names of images are relative to, or its address; of a data set in a package: a copy.",
    )
    sha256: str = Field(default="", description="Digest of all raw files; where it is given, others stop `download`.")
    split: dict[Literal["val", "test"], Fraction] = Field(
        default={},
        description="Shares of the images held out, chosen by content, where the files have no splits; "
        "`{test: 1.0}`: a set that is only asked.",
    )
    licence: str = Field(description="Licence of the data; it goes into every sample and the model card.")
    task: Task | None = Field(default=None, description="Task of the records, where the form leaves it open.")
    templates: Family | None = Field(default=None, description="Instructions to ask with; absent: those of the task.")
    several_images: Literal["refuse", "first"] | None = Field(
        default=None, description="Records with several images: left out and counted, or trained on their first."
    )

    blip_caption: tuple[Literal["question", "answer"], ...] = Field(
        default=(),
        description="Texts that are put through BLIP's caption processing: lower case, some punctuation taken out, at "
        "most 50 words (docs/recipe.md says which sets of the paper have it, and for what).",
    )
    max_rejected: Rate | None = Field(
        default=None, description="Share of its records rejected above which `shards` stops; absent: that of `shards`."
    )
    columns: dict[Literal["image", "question", "answer", "id", "split"], str] = Field(
        default={}, description="What its files call a column or key, where they use no usual name."
    )
    outside: Literal["allow"] | None = Field(
        default=None,
        description="Pictures that records name by a path out of `images`: taken; absent: left out and counted.",
    )
    benchmark: str | None = Field(
        default=None, description="Benchmark by which its answers count (docs/evaluation.md); absent: that of the task."
    )
    part: str | None = Field(
        default=None, description="Split of its files that is read, as its publishers call it, such as `testA`."
    )
    questions: Count | None = Field(
        default=None,
        description="How many questions are asked of it; another number stops `evaluate`. Absent: as many as `part` of "
        "a published benchmark has; of own files any number.",
    )

    @model_validator(mode="after")
    def _can_be_read(self) -> Self:
        if self.benchmark is not None and self.benchmark not in BENCHMARKS:
            raise ValueError(f"benchmark: {self.benchmark!r} is not known; known are {', '.join(BENCHMARKS)}")
        if self.format not in FORMATS:
            raise ValueError(f"format: {self.format!r} is not known; known are {', '.join(FORMATS)}")
        for name in filter(is_address, (*self.files, self.images)):
            parse(name)
        if sum(self.split.values()) > 1:
            raise ValueError("split: the shares held out are more than the whole")
        return self


class Entry(NamedTuple):
    """An entry of a mixture: a data set, or its records that a family of instructions is about."""

    dataset: str
    family: Family | None


def parse_entry(text: str) -> Entry:
    """Read `SET` or `SET/FAMILY`.

    Raises:
        ValueError: it is neither, or the family is not known.
    """
    dataset, slash, family = text.partition("/")
    if not SET_NAME.fullmatch(dataset):
        raise ValueError(f"{text!r} is no data set; write SET, or SET/TASK for its records of one task")
    known: tuple[Family, ...] = get_args(Family)
    for name in known:
        if family == name:
            return Entry(dataset, name)
    if slash:
        raise ValueError(f"{text}: no instructions are called {family!r}; known are {', '.join(known)}")
    return Entry(dataset, None)


def check_sets(sets: Mapping[str, DataSet]) -> None:
    """Check the names of a profile's data sets.

    Raises:
        ValueError: there is none, or a name is not one.
    """
    if not sets:
        raise ValueError("data: names no data set")
    for name in sets:
        if not SET_NAME.fullmatch(name):
            raise ValueError(
                f"data: {name!r} is no name of a data set; it begins with a letter and has letters, digits, _"
            )


class Shards(Section):
    """WebDataset tars."""

    images_per_shard: Count = Field(description="Most images of one tar, on average over the tars of a split.")
    max_rejected: Rate = Field(description="Share of a data set's records rejected above which the step stops.")


class Features(Section):
    """Q-Former outputs, computed once per image and resolution, at those of the stages that train on its data set."""

    batch_size: Count = Field(description="Images of a forward pass; part of what decides the bits.")


class Loader(Section):
    """How blocks and batches are made. It decides how fast they come, never what they hold."""

    workers: Annotated[int, Field(ge=0)] = Field(description="Processes that make them; 0: the step makes them.")
    prefetch: Count = Field(description="Steps that each worker is ahead.")

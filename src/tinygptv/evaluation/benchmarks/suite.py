"""What a benchmark's module says of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tinygptv.config import Task


@dataclass(frozen=True, slots=True)
class Suite:
    """What is asked about the held-out images and the test images of data sets of one format."""

    names: Mapping[Task, str]
    """Task → name of its benchmark in the reports; records of other tasks are trained and not measured."""
    labels: Mapping[str, str]
    """Name of a benchmark → what pictures call it."""
    types: tuple[str, ...]
    """Kinds of questions that have a figure of their own."""
    type_of: Callable[[Task, str, str], str]
    """Task, question and true answer → one of ``types``, or nothing."""

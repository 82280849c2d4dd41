"""What data sets take: bytes of shards and features, operations of encoding, and whether caching the features pays.

A cached feature is computed once for each training image of a set, drawn or not, and lies on disk; in the loop it is
computed at every draw. So caching pays where the stages of a resolution draw a set more often than it has images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tinygptv.config import parse_entry
from tinygptv.ground.names import STAGES
from tinygptv.planning.compute import PEAK_TFLOPS, UTILISATION, encoder_forward
from tinygptv.planning.sizes import number_size

if TYPE_CHECKING:
    from pathlib import Path

    from tinygptv.config import Config, Stage

ROW_OVERHEAD = 32 + 4
"""Bytes beside an image's features: its SHA-256 and the checksum of the row (``data/features.py``)."""
Way = Literal["cached", "in_loop"]
CountSource = Literal["shards", "published", "rounded", "at most"]
"""Who has counted: the step ``shards``; the publishers, in round numbers or not; or nobody: a set has at most as many
images as the pictures that it is about (``planning/published.py``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What the shards of a data set hold of its training split; before there are any, what is published of it."""

    images: int
    size: int | None
    """Bytes of the tars, or of the published images; None where nobody says."""
    source: CountSource = "shards"


@dataclass(frozen=True, slots=True, kw_only=True)
class SetPlan:
    """A data set at one resolution."""

    dataset: str
    image_size: int
    stages: tuple[str, ...]
    """The stages that train on it at this resolution."""
    samples: float
    """Draws of these stages."""
    images: int | None
    """Training images; None where neither the step ``shards`` nor the publishers have counted them."""
    source: CountSource | None
    """Who has."""
    shards: int | None
    """Bytes of its training shards."""
    row: int
    """Bytes of the features of an image."""
    operations: float
    """Of tower and Q-Former for one image."""

    @property
    def features(self) -> int | None:
        """Bytes of its features, cached."""
        return None if self.images is None else self.images * self.row

    @property
    def once(self) -> float | None:
        """Operations that encode every image once."""
        return None if self.images is None else self.images * self.operations

    @property
    def in_loop(self) -> float:
        """Operations that encode an image at every draw; a set of texts has none."""
        return 0.0 if self.images == 0 else self.samples * self.operations

    @property
    def cheaper(self) -> Way | None:
        """The way with fewer operations; None where the images are not counted yet."""
        if self.images is None:
            return None
        return "cached" if self.images < self.samples else "in_loop"


def set_plans(config: Config, counted: Mapping[str, Counted]) -> tuple[SetPlan, ...]:
    """Every data set that is trained on, once for each resolution.

    Args:
        config: the profile.
        counted: data set → what its shards hold or is published of it, where that is known.
    """
    draws: dict[tuple[str, int], dict[str, float]] = {}
    for name in STAGES:
        stage = config.stage(name)
        for entry, samples in drawn(stage).items() if stage.steps else ():
            of_stage = draws.setdefault((parse_entry(entry).dataset, stage.image_size), {})
            of_stage[name] = of_stage.get(name, 0.0) + samples
    row = config.model.qformer.num_query_tokens * config.model.qformer.hidden_size * number_size(config.runtime.dtype)
    return tuple(
        SetPlan(
            dataset=dataset,
            image_size=size,
            stages=tuple(of_stage),
            samples=sum(of_stage.values()),
            images=counted[dataset].images if dataset in counted else None,
            source=counted[dataset].source if dataset in counted else None,
            shards=counted[dataset].size if dataset in counted else None,
            row=row + ROW_OVERHEAD,
            operations=encoder_forward(config, size),
        )
        for (dataset, size), of_stage in draws.items()
    )


def drawn(stage: Stage) -> dict[str, float]:
    """Entry of the mixture → samples of the whole stage, on average."""
    whole = sum(stage.mixture.values())
    places = {
        entry: stage.batch_size if isinstance(stage.batch_size, int) else stage.batch_size[entry]
        for entry in stage.mixture
    }
    return {entry: stage.steps * places[entry] * weight / whole for entry, weight in stage.mixture.items()}


def cheaper_way(config: Config, name: str, sets: tuple[SetPlan, ...]) -> Way | None:
    """The way of a whole stage: caching counts with the share of a set's draws that are this stage's.

    Returns:
        None where the images of one of its sets are not counted yet, or nothing is trained.
    """
    stage = config.stage(name)
    if not stage.steps:
        return None
    found = {plan.dataset: plan for plan in sets if plan.image_size == stage.image_size}
    once = in_loop = 0.0
    for entry, samples in drawn(stage).items():
        plan = found[parse_entry(entry).dataset]
        if plan.once is None:
            return None
        once += plan.once * samples / plan.samples
        in_loop += plan.in_loop * samples / plan.samples
    return "cached" if once < in_loop else "in_loop"


def encoding_hours(operations: float, gpu: str) -> float:
    """Hours of encoding at ``UTILISATION`` of a device's peak for bfloat16."""
    return operations / (PEAK_TFLOPS[gpu] * 1e12 * UTILISATION) / 3600


def count_sets(shards: Path) -> dict[str, Counted]:
    """Data set → what its shards hold, for the sets of a folder; empty where the step has not run."""
    from tinygptv.data.summary import TRAINING, count_images, sets, tars

    found = {}
    for name, folder in sets(shards).items() if shards.is_dir() else ():
        images = count_images(folder, "train")
        if images is not None:
            size = sum(path.stat().st_size for path in tars(folder, TRAINING))
            found[name] = Counted(images=images, size=size)
    return found

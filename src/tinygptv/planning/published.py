"""What the lock file of data sets says of a profile's sets, for a plan before anything is fetched or counted.

A set's own numbers are its publishers'. Where they give none, it has at most as many images as the pictures that it is
about, and at most as many as it has records.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tinygptv.config import DataSet
from tinygptv.fetching.plan import PICTURES_RATE, RATE, make_plan, needed_by
from tinygptv.fetching.sources import SOURCES, DataSource, Sources, giving, read_sources
from tinygptv.ground.worktree import main_of
from tinygptv.planning.data import Counted


@dataclass(frozen=True, slots=True, kw_only=True)
class ToFetch:
    """What of a profile's published data is not there yet."""

    files: int
    size: int
    """Bytes of those files whose size is known."""
    unknown: int
    """Files whose size is not known."""
    kept: int
    """Bytes that they take on disk, unpacked, as far as that is known."""
    pictures: int
    """Images that are asked for one by one at the addresses of lists."""
    picture_bytes: int
    by_hand: int
    """Files and folders that a person has to get."""

    @property
    def hours(self) -> float:
        """Hours of downloading, at ``RATE``, and of asking for pictures, at ``PICTURES_RATE``."""
        return self.size / RATE / 3600 + self.pictures / PICTURES_RATE / 3600


def published(root: Path, sets: Mapping[str, DataSet]) -> tuple[dict[str, Counted], ToFetch | None]:
    """Data set → what is published of it, and what of all of them is to be fetched; None where nothing is known.

    Raises:
        DataError: the lock file is not of its form.
    """
    if not (root / SOURCES).is_file():
        return {}, None
    sources, home = read_sources(root / SOURCES), main_of(root)
    needed = needed_by(dict(sets), sources)
    counted = {name: found for name, of_set in sets.items() if (found := _counted(of_set, sources)) is not None}
    if not needed:
        return counted, None
    plan = make_plan(home, {name: sources[name] for name in needed})
    return counted, ToFetch(
        files=len(plan.files),
        size=plan.left,
        unknown=sum(one.file.size is None for one in plan.files),
        kept=sum(one.kept for one in plan.files),
        pictures=sum(sources[name].counts.images or 0 for name in plan.pictures),
        picture_bytes=sum(plan.picture_bytes(name) for name in plan.pictures),
        by_hand=len(plan.by_hand),
    )


def _counted(of_set: DataSet, sources: Sources) -> Counted | None:
    """What is published of a set, if any of its files is."""
    own = _entries(sources, of_set.files)
    shown = _entries(sources, (of_set.images,) if of_set.images else ()) or own
    if not own:
        return None
    if not of_set.images and not any(source.pictures for source in own):
        return Counted(images=0, size=None, source="published")  # texts alone
    told = [source.counts.images for source in own if source.counts.images]
    of_pictures = sum(source.counts.images or 0 for source in shown) or None
    records = sum(source.counts.records or 0 for source in own) or None
    least = min((count for count in (of_pictures, records) if count), default=None)
    images = sum(told) or least
    if images is None:
        return None
    rounded = any(source.counts.rounded for source in own)
    return Counted(
        images=images,
        size=_size(own, shown, images, of_pictures),
        source=("rounded" if rounded else "published") if told else "at most",
    )


def _size(own: list[DataSource], shown: list[DataSource], images: int, of_pictures: int | None) -> int | None:
    """Bytes of a set's images: its share of the archives that they come in."""
    told = sum(source.counts.bytes or 0 for source in own)
    archives = sum(file.size or 0 for source in shown for file in source.files if file.unpack)
    share = min(1.0, images / of_pictures) if of_pictures else 1.0
    return told or round(archives * share) or None


def _entries(sources: Sources, paths: tuple[str, ...]) -> list[DataSource]:
    names = dict.fromkeys(name for path in paths for name in giving(sources, path))
    return [sources[name] for name in names]

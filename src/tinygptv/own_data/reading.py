"""A data set read as ``download`` and ``shards`` would read it, without DVC and without writing a shard.

Bounded in memory, however many records there are: they go through the same rows on the disk, and some of them, evenly
drawn, are kept to be looked at.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from tinygptv.data.images import ImageError, read_image
from tinygptv.data.rejections import Rejections
from tinygptv.data.rows import SetRows, collect
from tinygptv.data.source import Found, ImageFile, Rejection, open_source, read_source
from tinygptv.ground.digests import DigestMemory
from tinygptv.steps.download import look

if TYPE_CHECKING:
    from tinygptv.config import DataSet
    from tinygptv.data.records import Record

SAMPLE = 3000
"""Records that are kept to be looked at."""
SEED = 16


@dataclass(slots=True)
class Reading:
    """What a data set holds."""

    found: int = 0
    """Records of its files, good and bad."""
    images: dict[str, int] = field(default_factory=dict)
    """Split → images that have records, and records without an image."""
    tasks: Counter[str] = field(default_factory=Counter)
    """Task → records that its form gives."""
    rejections: Rejections = field(default_factory=Rejections)
    """What ``shards`` would leave out: of the files all, of damaged images those that were looked at."""
    turns: int = 0
    """Questions of these records."""
    texts: int = 0
    """Records without a picture."""
    sample: list[Record] = field(default_factory=list)
    """Good records, evenly drawn: all of them, where there are few."""

    @property
    def records(self) -> int:
        """Good records."""
        return self.found - self.rejections.count


def read_set(name: str, settings: DataSet, root: Path) -> Reading:
    """Read every record of a data set, and look at the pictures of some.

    Args:
        name: the data set's.
        settings: its section of a profile.
        root: the checkout, from which names of files begin.

    Raises:
        DataError: a file is missing or cannot be read.
        NoSpaceError: the temporary folder's disk is full.
    """
    with TemporaryDirectory(prefix="tinygptv-") as scratch:
        watch = _Watch()
        with closing(rows_of(name, settings, root, Path(scratch), watch.passing)) as finished:
            rejections = finished.rejections
            refused = {rejection["id"] for rejection in rejections.first}
            rejections.add(watch.damaged.values())
            return Reading(
                found=finished.found,
                images=finished.samples,
                tasks=watch.tasks,
                turns=watch.turns,
                texts=watch.texts,
                rejections=rejections,
                sample=[record for record in watch.kept if record.id not in refused | watch.damaged.keys()],
            )


def rows_of(
    name: str,
    settings: DataSet,
    root: Path,
    scratch: Path,
    passing: Callable[[Iterable[Found | Rejection]], Iterator[Found | Rejection]] = iter,
) -> SetRows:
    """The rows of a data set, as ``download`` and ``shards`` would come to them.

    Args:
        name: the data set's.
        settings: its section of a profile.
        root: the checkout, from which names of files begin.
        scratch: a folder for the time being; they lie in it.
        passing: hands on what its form gives.

    Raises:
        DataError: a file is missing or cannot be read.
        NoSpaceError: the disk is full.
    """
    manifest, table = scratch / f"{name}.json-lines", scratch / f"{name}.sqlite"
    with DigestMemory.opened() as memory:
        look(manifest, name, settings, root, memory)
    source = open_source(name, settings, root, manifest)
    collect(table, name, passing(read_source(source)), settings.split, "")
    return SetRows(table)


class _Watch:
    """Counts what a form gives and keeps some of it, each record with the same chance (Vitter 1985, algorithm R)."""

    def __init__(self) -> None:
        self.tasks: Counter[str] = Counter()
        self.turns = self.texts = 0
        self.kept: list[Record] = []
        self.damaged: dict[str, Rejection] = {}
        """Of the pictures that were looked at."""
        self._last = ("", "")

    def passing(self, found: Iterable[Found | Rejection]) -> Iterator[Found | Rejection]:
        """Everything again, but pictures by their digests: the rows need not hold the bytes of embedded ones."""
        drawn, seen = np.random.default_rng(SEED), 0
        for item in found:
            if isinstance(item, dict):
                yield item
                continue
            place = seen if seen < SAMPLE else int(drawn.integers(seen + 1))
            seen += 1
            self.tasks[item.record.task] += 1
            self.turns += len(item.record.turns)
            self.texts += item.image is None
            image = item.image
            if isinstance(image, bytes):
                image = ImageFile(Path(), 0, len(image), hashlib.sha256(image).hexdigest())
            if place < SAMPLE:
                self.kept[place : place + 1] = [item.record]
                if image is not None and (reason := self._damage(item, image.sha256)):
                    self.damaged[item.record.id] = {"id": item.record.id, "reason": reason}
            yield replace(item, image=image)

    def _damage(self, item: Found, digest: str) -> str:
        """Why a record's picture cannot be used; empty where it can."""
        if digest != self._last[0]:  # the records of a picture mostly follow one another
            self._last = digest, ""
            content = item.image.read() if isinstance(item.image, ImageFile) else item.image
            try:
                read_image(content or b"", item.record.id)
            except ImageError as error:
                self._last = digest, error.reason
        return self._last[1]

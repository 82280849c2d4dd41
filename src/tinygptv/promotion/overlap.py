"""Whether test images were there to train with, by content.

Training images are looked through in the columns of an index, where there is one: millions of them take a second.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tinygptv.data.summary import HELD_OUT, TEST, TRAINING, sets, tars
from tinygptv.ground.errors import DataError
from tinygptv.ground.file_names import view_of

if TYPE_CHECKING:
    from tinygptv.data.index import RecordIndex
    from tinygptv.promotion.contest import Exam

Digest = bytes
"""SHA-256 of an image's file."""


def seen_images(exam: Exam) -> int:
    """How many of the test images that are asked about are also among those that were there to train with.

    Raises:
        DataError: a shard is missing or damaged, or there are no test images.
    """
    from tinygptv.evaluation.benchmarks.table import suites_of

    asked_sets = sets(exam.shards).keys() & suites_of(exam.config.data).keys()
    asked = {digest for part in _images(exam.shards, asked_sets, TEST) for digest in part}
    if not asked:
        raise DataError(f"{exam.shards} has no {TEST} of a data set that a benchmark asks; run `dvc repro shards`")
    seen: set[Digest] = set()
    for split in (TRAINING, HELD_OUT):
        for part in _images(exam.shards, sets(exam.shards), split, asked):
            seen |= part & asked
    return len(seen)


def _images(shards: Path, names: Iterable[str], split: str, among: Iterable[Digest] = ()) -> Iterator[set[Digest]]:
    """The images of a split of data sets, part by part; with ``among`` those that may be some of these."""
    from tinygptv.data.samples import Samples
    from tinygptv.data.views import open_view

    indexed = open_view(shards, "evaluate") if (shards / view_of("evaluate")).is_file() else {}
    heads = np.frombuffer(b"".join(digest[:8] for digest in among), np.uint64)
    for name in sorted(names):
        folder = sets(shards)[name]
        if name in indexed:
            index = indexed[name].get(split.partition("-")[0])
            yield from _of_index(index, heads) if index is not None else ()
        else:
            records = Samples({name: tars(folder, split)}).records()
            yield {bytes.fromhex(record.image.sha256) for record in records if record.image is not None}


def _of_index(index: RecordIndex, heads: NDArray[np.uint64]) -> Iterator[set[Digest]]:
    """Images of an index, batch by batch; where there are ``heads``, those that begin with one of these 8 bytes."""
    from tinygptv.data.index import NO_IMAGE

    for rows in index.column("image", range(len(index))):
        chosen = rows[np.isin(np.ascontiguousarray(rows[:, :8]).view(np.uint64)[:, 0], heads)] if len(heads) else rows
        yield {row.tobytes() for row in chosen} - {NO_IMAGE}

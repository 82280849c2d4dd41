"""The records of a split as rows, also of tars that no index is known of: made by hand, or by an earlier version.

Those are all read once, and give what an index gives, in the same order; what is in memory grows with their number.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tinygptv.config import Task
from tinygptv.data.index import NO_IMAGE, RecordIndex
from tinygptv.data.records import TASKS, Record
from tinygptv.data.samples import Samples
from tinygptv.data.summary import sets, tars
from tinygptv.data.tar_index import damaged
from tinygptv.data.views import open_split
from tinygptv.ground.file_names import view_of


def split_rows(shards: Path, step: str, split: str, names: Iterable[str]) -> Mapping[str, RecordIndex | TarRows]:
    """The records of a split of those data sets that have one.

    Args:
        shards: such as ``data/tiny/shards``; a folder without the view of ``step`` is taken as its summaries say.
        step: the step whose view it is compared with.
        split: ``train``, ``val`` or ``test``.
        names: the data sets.

    Raises:
        DataError: an index is not the one of the view, or a tar is missing or damaged.
    """
    if (shards / view_of(step)).is_file():
        return open_split(shards, step, split, names)
    asked = frozenset(names)
    found = {name: tars(folder, f"{split}-*.tar") for name, folder in sets(shards).items() if name in asked}
    return {name: TarRows(name, paths) for name, paths in found.items() if paths}


class _Row(NamedTuple):
    task: int
    key: str
    position: int
    turns: int
    crc32: int
    image: bytes


class TarRows:
    """The records of a data set's tars as rows, sorted by task, and in the order of the tars."""

    def __init__(self, dataset: str, tars: Iterable[Path]) -> None:
        """Read the records.

        Raises:
            DataError: a tar is missing, damaged, cut or foreign, or a record breaks the format.
        """
        self.dataset = dataset
        self._samples = Samples({dataset: tars})
        rows = [
            _Row(
                TASKS.index(record.task),
                sample.key,
                position,
                len(record.turns),
                zlib.crc32(record.to_json()),
                NO_IMAGE if sample.image is None else bytes.fromhex(sample.image.sha256),
            )
            for sample in self._samples.records()
            for position, record in enumerate(sample.records)
        ]
        self._rows = sorted(rows, key=lambda row: row.task)  # stable: an index has the tars' order, too

    def __len__(self) -> int:
        return len(self._rows)

    def rows(self, task: Task) -> range:
        """The rows of a task."""
        found = [number for number, row in enumerate(self._rows) if row.task == TASKS.index(task)]
        return range(found[0], found[-1] + 1) if found else range(0)

    def column(self, name: str, rows: range) -> Iterator[NDArray[Any]]:
        """``turns``, ``crc32`` or ``image`` of rows that follow one another, as an index has them."""
        values = [getattr(self._rows[row], name) for row in rows]
        if name == "image":
            yield np.frombuffer(b"".join(values), np.uint8).reshape(len(values), -1)
        else:
            yield np.array(values, "<i2" if name == "turns" else "<u4")

    def record(self, row: int) -> tuple[Record, bytes | None]:
        """A record, and the SHA-256 of its image.

        Raises:
            DataError: it is damaged.
        """
        _, key, position, _, _, image = self._rows[row]
        return self._samples.record(self.dataset, key).records[position], None if image == NO_IMAGE else image

    def image_bytes(self, row: int) -> bytes:
        """The file of a record's image; only for a record that has one.

        Raises:
            DataError: it is not the one that the record is of.
        """
        found = self._rows[row]
        content = self._samples.image_bytes(self.dataset, found.key)
        if sha256(content).digest() != found.image:
            raise damaged(self._samples.tar(self.dataset, found.key), f"the image of {found.key} is another one")
        return content

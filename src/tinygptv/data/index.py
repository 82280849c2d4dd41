"""The records of a split as columns: an Arrow file that is mapped, not read, however many there are.

Rows are sorted by task, block, key of the sample, position in the sample. A row says where the record's own JSON lies
in a tar, and what can be known of it without its text. Every batch but the last has ``BATCH_ROWS`` rows.
"""

from __future__ import annotations

import json
import os
import zlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tinygptv.config import Task
from tinygptv.data.record_json import parse_alone
from tinygptv.data.record_rules import RecordError
from tinygptv.data.records import Record
from tinygptv.data.summary import mend
from tinygptv.ground.errors import DataError

VERSION = 1
BATCH_ROWS = 65_536
NO_IMAGE = bytes(32)
"""What the column ``image`` has for a record without one."""
COLUMNS: Mapping[str, str] = {
    "block": "<i4",  # number of the tar
    "offset": "<i8",  # of the record's own JSON in it
    "size": "<i4",
    "crc32": "<u4",  # of these bytes
    "image": "V32",  # SHA-256 of its file
    "image_offset": "<i8",  # of its file in the tar
    "image_size": "<i4",
    "turns": "<i2",
    "first_question_bytes": "<i4",  # as ``most_bytes`` counts them, like those below
    "question_bytes": "<i4",  # of all turns
    "answer_bytes": "<i4",  # of all turns, of each its longest answer
    "longest_answer_bytes": "<i4",
}
"""Column → its form in memory."""
_OPEN = 64
"""Tars that are open at once."""


class ImagePlace(NamedTuple):
    """Where an image of a record is to be found."""

    dataset: str
    block: int
    """Number of the tar."""
    sha256: bytes
    """Of its file."""
    row: int
    """Of the record, in the set's index."""


class RecordIndex:
    """The records of a split: columns without a copy, and each record from its tar when it is asked for."""

    def __init__(self, path: Path) -> None:
        """Map an index.

        Raises:
            DataError: it is missing, damaged or of another version.
        """
        import pyarrow as pa

        self._path = path
        try:
            reader = pa.ipc.open_file(pa.memory_map(str(path)))
            told = {name.decode(): json.loads(text) for name, text in (reader.schema.metadata or {}).items()}
            if told.get("version") != VERSION or not reader.schema.equals(schema()):
                raise DataError(f"{path} is no index of this version; {mend(path.parent)}")
            batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
        except FileNotFoundError:
            raise DataError(f"{path} is missing; {mend(path.parent)}") from None
        except (pa.ArrowException, ValueError) as error:
            raise DataError(f"{path} is damaged ({error}); {mend(path.parent)}") from None
        self.dataset: str = told["dataset"]
        self.blocks: dict[int, tuple[str, int]] = {int(block): tuple(facts) for block, facts in told["blocks"].items()}
        """Number of a block → SHA-256 of its tar, and its samples."""
        self._tasks = {task: range(*rows) for task, rows in told["tasks"].items()}
        self._rows = sum(batch.num_rows for batch in batches)
        self._columns = {
            name: [_numpy(batch.column(name), form) for batch in batches] for name, form in COLUMNS.items()
        }
        self._handles: OrderedDict[int, int] = OrderedDict()

    def __len__(self) -> int:
        return self._rows

    def rows(self, task: Task) -> range:
        """The rows of a task."""
        return self._tasks.get(task, range(0))

    def column(self, name: str, rows: range) -> Iterator[NDArray[Any]]:
        """A column's values in rows that follow one another: pieces of the mapped file, one for each batch.

        Those of ``image`` are bytes [N, 32].
        """
        for batch in range(rows.start // BATCH_ROWS, -(-rows.stop // BATCH_ROWS) if rows else 0):
            first = batch * BATCH_ROWS
            yield self._columns[name][batch][max(rows.start - first, 0) : rows.stop - first]

    def image(self, row: int) -> bytes | None:
        """SHA-256 of a record's image; None where it has none."""
        digest = self._value("image", row).tobytes()
        return None if digest == NO_IMAGE else digest

    def block(self, row: int) -> int:
        """Number of the block that a record lies in."""
        return int(self._value("block", row))

    def record(self, row: int) -> tuple[Record, bytes | None]:
        """A record, and the SHA-256 of its image; raises what ``read`` does."""
        return self.read(row), self.image(row)

    def read(self, row: int) -> Record:
        """A record alone.

        Raises:
            DataError: its tar is missing, or is not the one that the index was made of.
        """
        block, offset, size = self.block(row), int(self._value("offset", row)), int(self._value("size", row))
        content = os.pread(self._handle(block), size, offset)
        if zlib.crc32(content) != int(self._value("crc32", row)):
            raise self._damaged(block, f"the record of row {row} in {self._path.name} is damaged")
        try:
            return parse_alone(content, self.dataset, f"row {row}")
        except RecordError as error:
            raise self._damaged(block, str(error)) from None

    def place(self, row: int) -> ImagePlace | None:
        """Where a record's image is; None where it has none."""
        image = self.image(row)
        return None if image is None else ImagePlace(self.dataset, self.block(row), image, row)

    def image_bytes(self, row: int) -> bytes:
        """The file of a record's image; only for a record that has one.

        Raises:
            DataError: its tar is missing, or the bytes are not those that the index was made of.
        """
        block, offset = self.block(row), int(self._value("image_offset", row))
        content = os.pread(self._handle(block), int(self._value("image_size", row)), offset)
        if sha256(content).digest() != self.image(row):
            raise self._damaged(block, f"the image of row {row} in {self._path.name} is damaged")
        return content

    def check(self) -> None:
        """Find before a record is read whether its tar is there.

        Raises:
            DataError: a tar is missing.
        """
        for block in self.blocks:
            if not self.tar(block).is_file():
                raise self._missing(block)

    def tar(self, block: int) -> Path:
        """Where a block's tar lies."""
        return self._path.with_name(f"{block_name(self._path.stem, block)}.tar")

    def close(self) -> None:
        """Close the tars; they are opened again on demand."""
        while self._handles:
            os.close(self._handles.popitem()[1])

    def _value(self, name: str, row: int) -> Any:
        if not 0 <= row < self._rows:
            raise IndexError(row)
        batch, place = divmod(row, BATCH_ROWS)
        return self._columns[name][batch][place]

    def _missing(self, block: int) -> DataError:
        return DataError(f"{self.tar(block)} is missing; {mend(self._path.parent)}")

    def _damaged(self, block: int, what: str) -> DataError:
        return DataError(f"{self.tar(block)}: {what}; {mend(self._path.parent)}")

    def _handle(self, block: int) -> int:
        if block not in self._handles:
            try:
                self._handles[block] = os.open(self.tar(block), os.O_RDONLY)
            except FileNotFoundError:
                raise self._missing(block) from None
            if len(self._handles) > _OPEN:
                os.close(self._handles.popitem(last=False)[1])
        self._handles.move_to_end(block)
        return self._handles[block]


def block_name(split: str, block: int) -> str:
    """What the files of a block are called, without their suffix."""
    return f"{split}-{block:06d}"


def schema() -> Any:
    """The columns as Arrow has them."""
    import pyarrow as pa

    kinds = {"<i2": pa.int16(), "<i4": pa.int32(), "<i8": pa.int64(), "<u4": pa.uint32(), "V32": pa.binary(32)}
    return pa.schema([pa.field(name, kinds[form], nullable=form == "V32") for name, form in COLUMNS.items()])


def _numpy(column: Any, form: str) -> NDArray[Any]:
    """A column of a batch as it lies in the file."""
    values = np.frombuffer(column.buffers()[1], form, count=len(column))
    return values.view(np.uint8).reshape(len(values), -1) if form == "V32" else values

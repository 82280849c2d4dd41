"""The records of a split as columns: an Arrow file that is mapped, not read, however many there are.

Rows are sorted by task, block, key of the sample, position in the sample. A row says where the record's own JSON lies
in a tar, and what can be known of it without its text. Every batch but the last has ``BATCH_ROWS`` rows.
"""

from __future__ import annotations

import json
import os
import zlib
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygptv.config import Task
from tinygptv.data.marks import most_bytes
from tinygptv.data.record_rules import RecordError, parse_alone
from tinygptv.data.records import TASKS, ImageRecord, Record
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
_DTYPE = np.dtype(list(COLUMNS.items()))
_OPEN = 64
"""Tars that are open at once."""

IndexRow = tuple[Task, tuple[Any, ...]]
"""A row of a block, in the order of ``COLUMNS``, with its task."""


@dataclass(frozen=True, slots=True)
class IndexPart:
    """The rows of one block: what ``write_part`` left."""

    path: Path
    block: int
    sha256: str
    """Of the tar."""
    samples: int
    tasks: Mapping[str, int]
    """Task → its rows, which are in the order of ``TASKS``."""


def rows_of(
    sample: ImageRecord, content: bytes, places: Sequence[tuple[int, int]], begin: int, image_place: tuple[int, int]
) -> list[IndexRow]:
    """The rows of a sample's records; the number of the block is left open.

    Args:
        sample: the sample.
        content: its JSON.
        places: of the records in it, as ``ImageRecord.json_and_places`` gives them.
        begin: where the JSON begins in the tar.
        image_place: where the file of its image begins in the tar, and its size; zeros where it has none.
    """
    image = NO_IMAGE if sample.image is None else bytes.fromhex(sample.image.sha256)
    rows: list[IndexRow] = []
    for record, (offset, size) in zip(sample.records, places, strict=True):
        crc32 = zlib.crc32(content[offset : offset + size])
        questions = [most_bytes(turn.question) for turn in record.turns]
        answers = [max(map(most_bytes, turn.answers)) for turn in record.turns]
        counts = len(record.turns), questions[0], sum(questions), sum(answers), max(answers)
        rows.append((record.task, (0, begin + offset, size, crc32, image, *image_place, *counts)))
    return rows


def write_part(path: Path, rows: Iterable[IndexRow]) -> dict[str, int]:
    """Write the rows of a block, sorted by task.

    Args:
        path: the file.
        rows: as ``rows_of`` gives them, in the order of keys and positions.

    Returns:
        Task → rows, for ``IndexPart``.
    """
    by_task: dict[str, list[tuple[Any, ...]]] = {task: [] for task in TASKS}
    for task, row in rows:
        by_task[task].append(row)
    with path.open("wb") as file:
        np.save(file, np.array([row for task in TASKS for row in by_task[task]], _DTYPE), allow_pickle=False)
    return {task: len(found) for task, found in by_task.items()}


def write_index(path: Path, dataset: str, parts: Sequence[IndexPart]) -> None:
    """Write the index of a split from those of its blocks; one batch of rows is in memory.

    Args:
        path: such as ``data/tiny/shards/my_cats/train.arrow``; the tars lie beside it.
        dataset: name of the set.
        parts: of the blocks, in their order.
    """
    import pyarrow as pa

    counts = Counter[str]()
    for part in parts:
        counts.update(part.tasks)
    ends = np.cumsum([counts[task] for task in TASKS]).tolist()
    told = {
        "version": VERSION,
        "dataset": dataset,
        "tasks": {task: [end - counts[task], end] for task, end in zip(TASKS, ends, strict=True)},
        "blocks": {str(part.block): [part.sha256, part.samples] for part in parts},
    }
    schema = _schema().with_metadata({name: json.dumps(value) for name, value in told.items()})
    with path.open("wb") as file, pa.ipc.new_file(file, schema) as writer:
        for rows in _batches(_slices(parts)):
            arrays = [_arrow(rows[name], schema.field(name).type) for name in COLUMNS]
            writer.write_batch(pa.record_batch(arrays, schema=schema))


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
            if told.get("version") != VERSION or not reader.schema.equals(_schema()):
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
        tar = self.tar(block)
        if zlib.crc32(content) != int(self._value("crc32", row)):
            raise DataError(f"{tar}: the record of row {row} in {self._path.name} is damaged; {mend(tar.parent)}")
        try:
            return parse_alone(content, self.dataset, f"row {row}")
        except RecordError as error:
            raise DataError(f"{tar}: {error}; {mend(tar.parent)}") from None

    def image_bytes(self, row: int) -> bytes:
        """The file of a record's image; only for a record that has one.

        Raises:
            DataError: its tar is missing, or the bytes are not those that the index was made of.
        """
        block, offset = self.block(row), int(self._value("image_offset", row))
        content = os.pread(self._handle(block), int(self._value("image_size", row)), offset)
        if sha256(content).digest() != self.image(row):
            tar = self.tar(block)
            raise DataError(f"{tar}: the image of row {row} in {self._path.name} is damaged; {mend(tar.parent)}")
        return content

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

    def _handle(self, block: int) -> int:
        if block not in self._handles:
            try:
                self._handles[block] = os.open(self.tar(block), os.O_RDONLY)
            except FileNotFoundError:
                raise DataError(f"{self.tar(block)} is missing; {mend(self._path.parent)}") from None
            if len(self._handles) > _OPEN:
                os.close(self._handles.popitem(last=False)[1])
        self._handles.move_to_end(block)
        return self._handles[block]


def block_name(split: str, block: int) -> str:
    """What the files of a block are called, without their suffix."""
    return f"{split}-{block:06d}"


def _slices(parts: Sequence[IndexPart]) -> Iterator[NDArray[Any]]:
    """The rows of each task of each block, in the order of the index."""
    begins = [0] * len(parts)
    for task in TASKS:
        for place, part in enumerate(parts):
            if count := part.tasks[task]:
                rows = np.array(np.load(part.path, mmap_mode="r")[begins[place] : begins[place] + count])
                rows["block"] = part.block
                begins[place] += count
                yield rows


def _batches(pieces: Iterable[NDArray[Any]]) -> Iterator[NDArray[Any]]:
    """The same rows in arrays of ``BATCH_ROWS``; the last one may have fewer."""
    waiting: list[NDArray[Any]] = []
    count = 0
    for piece in pieces:
        waiting.append(piece)
        count += len(piece)
        while count >= BATCH_ROWS:
            rows = np.concatenate(waiting)
            yield rows[:BATCH_ROWS]
            waiting, count = [rows[BATCH_ROWS:]], count - BATCH_ROWS
    if count:
        yield np.concatenate(waiting)


def _schema() -> Any:
    import pyarrow as pa

    kinds = {"<i2": pa.int16(), "<i4": pa.int32(), "<i8": pa.int64(), "<u4": pa.uint32(), "V32": pa.binary(32)}
    return pa.schema([pa.field(name, kinds[form], nullable=form == "V32") for name, form in COLUMNS.items()])


def _arrow(values: NDArray[Any], kind: Any) -> Any:
    """A column for Arrow; a record without an image has null."""
    import pyarrow as pa

    values = np.ascontiguousarray(values)
    if values.dtype.kind != "V":
        return pa.array(values, kind)
    there = values.view(np.uint8).reshape(len(values), -1).any(axis=1)
    known = None if there.all() else pa.py_buffer(np.packbits(there, bitorder="little").tobytes())
    return pa.Array.from_buffers(kind, len(values), [known, pa.py_buffer(values.tobytes())])


def _numpy(column: Any, form: str) -> NDArray[Any]:
    """A column of a batch as it lies in the file."""
    values = np.frombuffer(column.buffers()[1], form, count=len(column))
    return values.view(np.uint8).reshape(len(values), -1) if form == "V32" else values

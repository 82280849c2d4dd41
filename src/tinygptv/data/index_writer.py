"""Writing the index of a split: the rows of each block beside its tar, and all of them as one Arrow file."""

from __future__ import annotations

import json
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygptv.config import Task
from tinygptv.data import index
from tinygptv.data.index import COLUMNS, NO_IMAGE, VERSION, schema
from tinygptv.data.marks import most_bytes
from tinygptv.data.records import TASKS, ImageRecord

_DTYPE = np.dtype(list(COLUMNS.items()))

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
        questions = [max(map(most_bytes, turn.questions)) for turn in record.turns]
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
    columns = schema().with_metadata({name: json.dumps(value) for name, value in told.items()})
    with path.open("wb") as file, pa.ipc.new_file(file, columns) as writer:
        for rows in _batches(_slices(parts)):
            arrays = [_arrow(rows[name], columns.field(name).type) for name in COLUMNS]
            writer.write_batch(pa.record_batch(arrays, schema=columns))


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
        while count >= index.BATCH_ROWS:
            rows = np.concatenate(waiting)
            yield rows[: index.BATCH_ROWS]
            waiting, count = [rows[index.BATCH_ROWS :]], count - index.BATCH_ROWS
    if count:
        yield np.concatenate(waiting)


def _arrow(values: NDArray[Any], kind: Any) -> Any:
    """A column for Arrow; a record without an image has null."""
    import pyarrow as pa

    values = np.ascontiguousarray(values)
    if values.dtype.kind != "V":
        return pa.array(values, kind)
    there = values.view(np.uint8).reshape(len(values), -1).any(axis=1)
    known = None if there.all() else pa.py_buffer(np.packbits(there, bitorder="little").tobytes())
    return pa.Array.from_buffers(kind, len(values), [known, pa.py_buffer(values.tobytes())])

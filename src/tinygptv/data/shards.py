"""WebDataset shards: written byte for byte the same each time, read with nothing taken on trust.

Samples are read by WebDataset itself; before that, the tar's structure is checked here, because WebDataset and
tarfile pass over much in silence: an archive cut between members, links, odd names, samples in pieces.
"""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO, Self

from tinygptv.data.index import IndexRow, rows_of, write_part
from tinygptv.data.record_rules import RecordError, parse_sample
from tinygptv.data.records import TASKS, ImageRecord, ImageSample
from tinygptv.data.samples import Members, read_record, same_file, tar_members
from tinygptv.data.summary import read_summary, replace_split
from tinygptv.data.tar_index import damaged
from tinygptv.data.tar_writer import TarWriter
from tinygptv.ground.errors import UserError
from tinygptv.ground.files import needing, sync_tree

_SPLIT = re.compile(r"[A-Za-z0-9_]+")


def write_shards(folder: Path, split: str, samples: Iterable[ImageSample], images_per_shard: int) -> list[Path]:
    """Write a split; see ``ShardWriter``, whose arguments and errors these are.

    Returns:
        The paths written.
    """
    with ShardWriter(folder, split, images_per_shard) as writer:
        for sample in samples:
            writer.add(sample)
        return writer.put_in_place()


class ShardWriter:
    """Writes a split as ``<split>-000000.tar`` and so on, listed in ``summary.json``; equal samples give equal bytes.

    What the folder held of the split goes, everything else stays. The tars are made aside: whatever fails leaves the
    folder as it was, and a kill while they take their places leaves a split that is refused until it is written again.
    The files of one tar are in memory.
    """

    def __init__(self, folder: Path, split: str, images_per_shard: int) -> None:
        """Begin a split.

        Args:
            folder: where to write; it is made if need be.
            split: first part of the file names: letters, digits and `_`.
            images_per_shard: samples of a tar; the last one may have fewer.

        Raises:
            UserError: the split's name or the size of the tars makes no sense.
            DataError: the folder has a ``summary.json`` that is none of shards.
        """
        if not _SPLIT.fullmatch(split) or images_per_shard < 1:
            raise UserError(
                f"cannot write the split {split!r} with {images_per_shard} images in a tar: a name has letters, digits "
                "and `_`, a tar at least one image"
            )
        read_summary(folder)
        self._folder, self._split, self._size = folder, split, images_per_shard
        self._staged = folder / f".{split}.new"
        self._waiting: list[tuple[str, dict[str, bytes]]] = []
        self._digests: dict[str, str] = {}
        self._images = 0
        self._tasks = Counter[str]()

    @property
    def records(self) -> int:
        """Records of the samples so far."""
        return self._tasks.total()

    def add(self, sample: ImageSample) -> None:
        """Take the next sample, in the order in which they are to be read."""
        self._waiting.append((sample.key, _files(sample)))
        self._images += 1
        self._tasks.update(record.task for record in sample.record.records)
        if len(self._waiting) == self._size:
            self._write()

    def put_in_place(self) -> list[Path]:
        """Move the finished tars into the folder; their paths."""
        if self._waiting:
            self._write()
        sync_tree(self._staged)
        tasks = {task: self._tasks[task] for task in TASKS}
        counts = {"images": self._images, "records": self.records, "tasks": tasks}
        replace_split(self._folder, self._split, self._staged, self._digests, counts)
        return [self._folder / name for name in self._digests]

    def __enter__(self) -> Self:
        shutil.rmtree(self._staged, ignore_errors=True)  # left by a kill
        self._staged.mkdir(parents=True)
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._staged, ignore_errors=True)

    def _write(self) -> None:
        path = self._staged / f"{self._split}-{len(self._digests):06d}.tar"
        self._digests[path.name] = write_members(path, self._waiting)
        self._waiting = []


def write_members(path: Path, samples: Iterable[tuple[str, Mapping[str, bytes]]]) -> str:
    """Write one tar, whole or not at all.

    Args:
        path: the tar; its folder must exist.
        samples: keys, and the bytes of a key's files by extension.

    Returns:
        Its SHA-256.
    """
    with _whole(path) as file:
        tar = TarWriter(file)
        for key, files in samples:
            for extension, content in files.items():
                tar.add(f"{key}.{extension}", content)
        return tar.end()


def write_block(tar: Path, rows: Path, samples: Iterable[tuple[ImageRecord, bytes]]) -> tuple[str, dict[str, Any]]:
    """Write the tar of a block and the rows of its index; one sample is in memory.

    Args:
        tar: the tar; its folder must exist.
        rows: the file of the rows.
        samples: each with the bytes of its image; they are taken as they are.

    Returns:
        SHA-256 of the tar, and how much is in it: ``samples``, ``images``, ``tasks`` (task → records).
    """
    found: list[IndexRow] = []
    images = count = 0
    with _whole(tar) as file:
        writer = TarWriter(file)
        for sample, image_bytes in samples:
            content, places = sample.json_and_places()
            begin = writer.add(f"{sample.key}.json", content)
            image_place = 0, 0
            if sample.image is not None:
                image_place = writer.add(sample.image.file, image_bytes), len(image_bytes)
                images += 1
            found.extend(rows_of(sample, content, places, begin, image_place))
            count += 1
        sha256 = writer.end()
    return sha256, {"samples": count, "images": images, "tasks": write_part(rows, found)}


@contextmanager
def _whole(path: Path) -> Iterator[BinaryIO]:
    """A new file that takes its place when the block has ended well."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with needing(path, 0), temporary.open("wb") as file:
            yield file
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_samples(paths: Iterable[Path]) -> Iterator[ImageSample]:
    """Read and check samples, images decoded, in the order of the shards and of their members.

    Raises:
        DataError: a shard is missing, damaged, cut or foreign; the message names the tar and the member.
    """
    seen: dict[str, Path] = {}
    for path in paths:
        samples = _sample_members(path, seen)
        for raw in _read_with_webdataset(path):
            key = raw["__key__"]
            extension = samples[key].extension
            try:
                sample = parse_sample(key, raw["json"], raw.get(extension, b""))
                same_file(sample.record, extension)
            except RecordError as error:
                raise damaged(path, f"{key}.{extension or 'json'}: {error}") from None
            yield sample


def read_records(paths: Iterable[Path]) -> Iterator[ImageRecord]:
    """Read and check the JSON of samples only: a fraction of the time where no pixels are needed.

    Raises:
        DataError: as ``read_samples``, but for damage inside an image.
    """
    seen: dict[str, Path] = {}
    for path in paths:
        samples = _sample_members(path, seen)
        with path.open("rb") as file:
            for key, members in samples.items():
                yield read_record(file, key, members)


def _sample_members(path: Path, seen: dict[str, Path]) -> dict[str, Members]:
    """The samples of a shard, none of which an earlier one has."""
    samples = dict(tar_members(path))
    for key in samples:
        if key in seen:
            raise damaged(path, f"sample {key} is also in {seen[key].name}")
        seen[key] = path
    return samples


def _read_with_webdataset(path: Path) -> Iterator[dict[str, Any]]:
    """Raw samples of one shard. The stream is opened here: a path never becomes a WebDataset address."""
    wds = _webdataset()
    with path.open("rb") as stream:
        files = wds.tariterators.tar_file_expander([{"url": str(path), "stream": stream}])
        yield from wds.tariterators.group_by_keys(files)


def _webdataset() -> ModuleType:
    """WebDataset with its safety switch on; it is read at import, so a former import is corrected too."""
    os.environ["WDS_SECURE"] = "1"
    import webdataset

    webdataset.utils.enforce_security = True
    return webdataset


def _files(sample: ImageSample) -> dict[str, bytes]:
    """A sample's files by extension."""
    return {"json": sample.record.to_json(), sample.record.image.file.rpartition(".")[2]: sample.image_bytes}

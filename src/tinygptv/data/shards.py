"""WebDataset shards: written byte for byte the same each time, read with nothing taken on trust.

Samples are read by WebDataset itself; before that, the tar's structure is checked here, because WebDataset and
tarfile pass over much in silence: an archive cut between members, links, odd names, samples in pieces.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

from tinygptv.data.index import block_name
from tinygptv.data.index_writer import IndexPart, IndexRow, rows_of, write_index, write_part
from tinygptv.data.record_json import parse_sample
from tinygptv.data.record_rules import RecordError
from tinygptv.data.records import TASKS, ImageRecord, ImageSample
from tinygptv.data.samples import Members, read_record, same_file, tar_members
from tinygptv.data.summary import read_summary, replace_split
from tinygptv.data.tar_index import damaged
from tinygptv.data.tar_writer import TarWriter
from tinygptv.ground.errors import UserError
from tinygptv.ground.files import needing, sha256_file, sync_tree

_SPLIT = re.compile(r"[A-Za-z0-9_]+")


def write_shards(folder: Path, split: str, samples: Iterable[ImageSample], images_per_shard: int) -> list[Path]:
    """Write a split as ``<split>-000000.tar`` and so on, with its index; equal samples give equal bytes.

    What the folder held of the split goes, everything else stays. The files are made aside: whatever fails leaves the
    folder as it was, and a kill while they take their places leaves a split that is refused until it is written again.

    Args:
        folder: that of the data set; it is made if need be.
        split: first part of the file names: letters, digits and `_`.
        samples: of one data set, in the order in which they are to be read.
        images_per_shard: samples of a tar; the last one may have fewer.

    Returns:
        The tars.

    Raises:
        UserError: the split's name or the size of the tars makes no sense, or the samples are of several data sets.
        DataError: the folder has a ``summary.json`` that is none of shards.
    """
    if not _SPLIT.fullmatch(split) or images_per_shard < 1:
        raise UserError(
            f"cannot write the split {split!r} with {images_per_shard} images in a tar: a name has letters, digits "
            "and `_`, a tar at least one image"
        )
    read_summary(folder)
    staged = folder / f".{split}.new"
    shutil.rmtree(staged, ignore_errors=True)  # left by a kill
    staged.mkdir(parents=True)
    names: set[str] = set()
    parts: list[IndexPart] = []
    images, rest = 0, iter(samples)
    try:
        while some := list(islice(rest, images_per_shard)):
            names.update(sample.record.dataset for sample in some)
            if len(names) > 1:
                raise UserError(
                    f"cannot write {folder}: the samples are of {', '.join(sorted(names))}; one set a folder"
                )
            name = block_name(split, len(parts))
            rows = staged / f"{name}.npy"
            tar = staged / f"{name}.tar"
            sha256, facts = write_block(tar, rows, ((sample.record, sample.image_bytes) for sample in some))
            parts.append(IndexPart(rows, len(parts), sha256, facts["samples"], facts["tasks"]))
            images += facts["images"]
        put_split(folder, split, staged, next(iter(names), folder.name), parts, images)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return [folder / f"{block_name(split, part.block)}.tar" for part in parts]


def put_split(folder: Path, split: str, staged: Path, dataset: str, parts: Sequence[IndexPart], images: int) -> None:
    """Write the index of a split's finished tars, and put all of them in place.

    Args:
        folder: that of the data set.
        split: the split.
        staged: where the tars lie, on the same disk.
        dataset: name of the set.
        parts: of the tars' indexes.
        images: how many the tars hold.
    """
    index = staged / f"{split}.arrow"
    write_index(index, dataset, parts)
    sync_tree(staged)
    tasks = {task: sum(part.tasks[task] for part in parts) for task in TASKS}
    counts = {"images": images, "records": sum(tasks.values()), "tasks": tasks}
    digests = {f"{block_name(split, part.block)}.tar": part.sha256 for part in parts}
    replace_split(folder, split, staged, digests, sha256_file(index), counts)


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

"""One block of ``shards``: from checked rows and raw images to a tar, and the rows of its index.

A pure function of the rows, the images and this code. The image is read, hashed and decoded once; damage in it rejects
its records.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tinygptv.data.blocks import Block, BlockStore, inputs_digest
from tinygptv.data.images import ImageError, read_image
from tinygptv.data.index import block_name
from tinygptv.data.record_json import parse_alone
from tinygptv.data.record_rules import MAX_RECORDS, check_header
from tinygptv.data.records import ImageInfo, ImageRecord
from tinygptv.data.rejections import Rejections
from tinygptv.data.rows import Sample, SetRows
from tinygptv.data.shards import write_block
from tinygptv.data.tar_index import LARGEST_MEMBER
from tinygptv.ground.files import sha256_file

TAR, ROWS = ".tar", ".npy"
"""Suffixes of a block's files."""
LARGEST_TEXT = LARGEST_MEMBER - (1 << 20)
"""Bytes of a sample's records; what its JSON has beside them and their commas is little."""
_BEGINS = {b"\x89PNG": "png", b"\xff\xd8": "jpg", b"RIFF": "webp"}


@dataclass(frozen=True, slots=True)
class BlockJob:
    """What a process is given to make one block."""

    dataset: str
    licence: str
    rows: Path
    """The file that ``rows.collect`` wrote."""
    split: str
    number: int
    bits: int
    """How many bits of a key are the number of its block."""
    decides: str
    """Digest of what decides the bytes of a block beside its samples."""
    store: BlockStore


@dataclass(frozen=True, slots=True)
class MadeBlock:
    """What became of a job."""

    job: BlockJob
    block: Block
    samples: int
    """Good and bad ones."""
    rejections: Rejections


def prepare() -> Callable[[BlockJob], MadeBlock]:
    """The function for a process of ``data/pool.py``."""
    opened = cache(SetRows)
    return lambda job: make_block(job, opened(job.rows))


def make_block(job: BlockJob, rows: SetRows) -> MadeBlock:
    """Find a block among the finished ones, or make it.

    Raises:
        DataError: an image is missing, or is not what ``download`` saw.
    """
    samples = rows.block(job.split, job.number, job.bits)
    name = f"{job.dataset}/{block_name(job.split, job.number)}"
    content = hashlib.sha256()
    for sample in samples:
        content.update(b"\0".join((sample.sha256.encode(), *sample.records, b"")))
    inputs = inputs_digest([job.decides, content.hexdigest()])
    block = job.store.find(name, inputs)
    if block is None:
        rejections = Rejections()
        with job.store.scratch(name) as folder:
            tar, part = folder / f"new{TAR}", folder / f"new{ROWS}"
            sha256, facts = write_block(tar, part, _good(samples, job, rows, rejections))
            facts["rejections"] = rejections.to_json()
            block = job.store.add(name, inputs, {tar: sha256, part: sha256_file(part)}, facts)
    return MadeBlock(job, block, len(samples), Rejections.from_json(block.facts["rejections"]))


def block_bits(samples: int, size: int) -> int:
    """How many bits of a key are the number of its block: a split has as many blocks as the power of two says.

    Args:
        samples: of the split.
        size: how many a block has at most, on average.
    """
    return max(0, -(-samples // size) - 1).bit_length()


def _good(
    samples: list[Sample], job: BlockJob, rows: SetRows, rejections: Rejections
) -> Iterator[tuple[ImageRecord, bytes]]:
    """The samples as they are written, each with the bytes of its image."""
    for sample in samples:
        try:
            yield look_at(sample, job.dataset, job.licence, rows)
        except ImageError as error:
            rejections.add({"id": name, "reason": error.reason} for name in sample.ids)


def look_at(sample: Sample, dataset: str, licence: str, rows: SetRows) -> tuple[ImageRecord, bytes]:
    """A sample with what can be known of its image by decoding it, and the bytes of that.

    Raises:
        ImageError: it cannot be used.
        DataError: it is missing, or is not what ``download`` saw.
    """
    records = tuple(parse_alone(record, dataset, sample.key) for record in sample.records)
    info, content = None, b""
    if len(records) > MAX_RECORDS:
        raise ImageError(f"the image has {len(records)} records, and {MAX_RECORDS} are the most", sample.key)
    if (size := sum(map(len, sample.records))) > LARGEST_TEXT:
        raise ImageError(f"what is said about the image has {size} bytes, and {LARGEST_TEXT} are the most", sample.key)
    if sample.sha256:
        content = rows.image_bytes(sample)
        picture = read_image(content, sample.key)
        extension = next(extension for begin, extension in _BEGINS.items() if content.startswith(begin))
        info = ImageInfo(f"{sample.key}.{extension}", picture.width, picture.height, sample.sha256)
    record = ImageRecord(sample.key, info, dataset, licence, records)
    check_header(record)
    return record, content

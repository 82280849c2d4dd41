"""Small data sets in shards, for tests of what comes after the step ``shards``: real tars, indexes and views."""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from tinygptv.data.index import block_name
from tinygptv.data.index_writer import IndexPart, write_index
from tinygptv.data.records import ImageInfo, ImageRecord, Record, Turn, image_key, text_key
from tinygptv.data.shards import write_block
from tinygptv.data.summary import DIGESTS, INDEXES, SUMMARY
from tinygptv.ground.files import sha256_file, write_json

Sample = tuple[ImageRecord, bytes]


def picture(number: int, size: tuple[int, int] = (40, 30)) -> bytes:
    """The file of an image that no other number has."""
    buffer = io.BytesIO()
    image = Image.new("RGB", size, (number % 256, number // 256 % 256, number * 7 % 256))
    image.paste((255, 255, 255), (number % size[0], 0, size[0], size[1] // 2))
    image.save(buffer, "PNG")
    return buffer.getvalue()


def sample(number: int, dataset: str, size: tuple[int, int] = (40, 30), words: str = "a picture") -> Sample:
    """An image with a caption."""
    content = picture(number, size)
    digest = hashlib.sha256(content).hexdigest()
    record = Record(f"{dataset}-{number}", "caption", (Turn("", f"{words} {number}"),), (), dataset)
    info = ImageInfo(f"{image_key(digest)}.png", *size, digest)
    return ImageRecord(image_key(digest), info, dataset, "CC0-1.0", (record,)), content


def text(number: int, dataset: str) -> Sample:
    """A conversation without an image."""
    record = Record(f"{dataset}-text-{number}", "conversation", (Turn("say", f"so {number}"),), (), dataset)
    return ImageRecord(text_key(dataset, record.id), None, dataset, "CC0-1.0", (record,)), b""


def write_set(shards: Path, dataset: str, samples: Iterable[Sample], images_per_shard: int = 16) -> None:
    """Write the training split of a set as the step ``shards`` does: a sample's key says in which tar it lies."""
    found = sorted(samples, key=lambda pair: pair[0].key)
    bits = max(0, math.ceil(math.log2(len(found) / images_per_shard)))
    blocks: dict[int, list[Sample]] = {}
    for one in found:
        blocks.setdefault(int(one[0].key, 16) >> (128 - bits), []).append(one)
    folder = shards / dataset
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    parts, digests = [], {}
    for number, of_block in blocks.items():
        tar, rows = folder / f"{block_name('train', number)}.tar", shards / f"{number}.npy"
        digests[tar.name], facts = write_block(tar, rows, of_block)
        parts.append(IndexPart(rows, number, digests[tar.name], facts["samples"], facts["tasks"]))
    write_index(folder / "train.arrow", dataset, parts)
    for part in parts:
        part.path.unlink()
    told = {DIGESTS: digests, INDEXES: {"train": sha256_file(folder / "train.arrow")}}
    counts = {"images": sum(one.image is not None for one, _ in found), "records": len(found)}
    write_json(folder / SUMMARY, {**told, "splits": {"train": counts}, "records": len(found)})

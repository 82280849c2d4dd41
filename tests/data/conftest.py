"""The batches of a stage on a few images."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from tinygptv.config import Config, DataSet, Family, Stage
from tinygptv.data import features, shards
from tinygptv.data.batches import StageBatches
from tinygptv.data.index import ImagePlace, RecordIndex, block_name
from tinygptv.data.index_writer import IndexPart, write_index
from tinygptv.data.mixture import entries_of
from tinygptv.data.records import ImageInfo, ImageRecord, Record, image_key, text_key
from tinygptv.ground.files import sha256_file

SLOT, QUERIES, WIDTH = 1024, 4, 2


@pytest.fixture(scope="session")
def images(small_shards: Path) -> list[ImageRecord]:
    return list(shards.read_records(sorted(small_shards.glob("train-*.tar"))))


def pictured(*records: Record, dataset: str = "easy_vqa", number: int = 1) -> ImageRecord:
    """Records of an image that nobody looks at."""
    sha256 = hashlib.sha256(f"{dataset} {number}".encode()).hexdigest()
    of_set = tuple(replace(record, dataset=dataset) for record in records)
    return ImageRecord(image_key(sha256), ImageInfo(f"{image_key(sha256)}.png", 1, 1, sha256), "s", "l", of_set)


def alone(record: Record, dataset: str = "talks") -> ImageRecord:
    """A record without an image."""
    return ImageRecord(text_key(dataset, record.id), None, "s", "l", (replace(record, dataset=dataset),))


def write_set(root: Path, samples: Sequence[ImageRecord], per_block: int = 16) -> RecordIndex:
    """Shards and features of a data set's training split: features of the i-th sample's image are i."""
    dataset = samples[0].dataset
    for folder in (root / "shards" / dataset, root / "features" / "32" / dataset):
        folder.mkdir(parents=True)
    parts, blocks = [], {}
    for number, start in enumerate(range(0, len(samples), per_block)):
        block = [(i, samples[i]) for i in range(start, min(len(samples), start + per_block))]
        rows = root / f"{dataset}-{number}.npy"
        tar = root / "shards" / dataset / f"{block_name('train', number)}.tar"
        sha256, facts = shards.write_block(tar, rows, [(sample, b"image") for _, sample in block])
        parts.append(IndexPart(rows, number, sha256, facts["samples"], facts["tasks"]))
        images = {
            bytes.fromhex(sample.image.sha256): torch.full((QUERIES, WIDTH), float(i))
            for i, sample in block
            if sample.image is not None
        }
        path = root / "features" / "32" / dataset / f"{block_name('train', number)}{features.SUFFIX}"
        features.write_block(path, images, torch.empty(0, QUERIES, WIDTH), tar=sha256, encoder="e")
        blocks[number] = {"sha256": sha256_file(path), "bytes": path.stat().st_size, "tar": sha256}
    index = root / "shards" / dataset / "train.arrow"
    write_index(index, dataset, parts)
    features.write_view(root / "features", f"of_{dataset}", 32, "e", {dataset: blocks}, {})
    return RecordIndex(index)


class SetFeatures:
    """The readers of several sets as one: each set has a view of its own here."""

    def __init__(self, root: Path, sets: Iterable[str]) -> None:
        self.readers = {name: features.FeatureReader(root / "features", f"of_{name}") for name in sets}

    def check(self, dataset: str, tars: Mapping[int, str]) -> None:
        self.readers[dataset].check(dataset, tars)

    def batch(self, images: Sequence[ImagePlace]) -> torch.Tensor:
        return torch.stack([self.readers[place.dataset].read(*place[:3]) for place in images])


@pytest.fixture(scope="session")
def small_set(images: list[ImageRecord], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Index and features of the small data set. Read only."""
    root = tmp_path_factory.mktemp("stage")
    write_set(root, images)
    return root


@pytest.fixture
def build(
    images: list[ImageRecord], small_set: Path, tokenizer: PreTrainedTokenizerFast, smoke: Config, tmp_path: Path
) -> Any:
    """``build(stage, seed, samples, templates)``: the batches of a stage; samples may be of several sets.

    With ``words`` they are of another tokenizer, the slots of ``slot`` and ``queries``.
    """

    def make(
        stage: Stage = smoke.stage4,
        seed: int = 3,
        samples: list[ImageRecord] | None = None,
        templates: Family | None = None,
        words: PreTrainedTokenizerFast = tokenizer,
        slot: int = SLOT,
        queries: int = QUERIES,
    ) -> StageBatches:
        root = small_set if samples is None else Path(tempfile.mkdtemp(dir=tmp_path))
        for _, of_set in groupby(samples or (), key=lambda sample: sample.dataset):
            write_set(root, list(of_set))
        indexes = {
            folder.name: {"train": RecordIndex(folder / "train.arrow")} for folder in (root / "shards").iterdir()
        }
        sets = {dataset: DataSet(format="easy_vqa", licence="MIT", templates=templates) for dataset in indexes}
        return StageBatches(
            entries_of("stage4", stage, sets, indexes),
            cast(features.FeatureReader, SetFeatures(root, indexes)),
            words,
            stage,
            name="stage4",
            image_token_id=slot,
            query_shape=(queries, WIDTH),
            seed=seed,
        )

    return make

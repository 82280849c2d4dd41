"""A step's context for tests of ``download`` and ``shards``, and the batches of a stage on a few images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from tinygptv.config import Config, DataSet, Shards, Stage
from tinygptv.data import shards
from tinygptv.data.batches import StageBatches
from tinygptv.data.features import FeatureReader
from tinygptv.data.records import ImageRecord

SLOT, QUERIES = 1024, 4


@dataclass
class RecordingRun:
    """Keeps what a step reports."""

    values: dict[str, Any] = field(default_factory=dict)

    def params(self, values: dict[str, Any]) -> None:
        self.values.update(values)

    metrics = params

    def artifact(self, path: Path, folder: str = "") -> None:
        assert path.is_file()
        self.values[f"artifact {path.name}"] = path.read_bytes()


@pytest.fixture
def make_context(tmp_path: Path) -> Callable[..., Any]:
    """``make_context(step, root)``: steps read and write ``root/<step>``."""

    def make(step: str, root: Path = tmp_path, **changes: Any) -> Any:
        out = root / step
        out.mkdir(parents=True, exist_ok=True)
        section = {"images_per_shard": 16, "max_rejected": 0.0}
        section.update({key: value for key, value in changes.items() if key in section})
        config = SimpleNamespace(
            backbones=SimpleNamespace(source="pretrain"),
            data={"easy_vqa": DataSet(format="easy_vqa", licence="MIT", sha256=changes.get("sha256", ""))},
            shards=Shards(**section),
        )
        state = tmp_path / "state" / step
        return SimpleNamespace(out=out, state=state, run=RecordingRun(), config=config, input=lambda name: root / name)

    return make


@pytest.fixture(scope="session")
def images(small_shards: Path) -> list[ImageRecord]:
    return list(shards.read_records(sorted(small_shards.glob("train-*.tar"))))


@pytest.fixture(scope="session")
def features(images: list[ImageRecord], tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeatureReader]:
    """The features of the i-th image are i."""
    from tinygptv.data.features import write_features  # gone: to be the view and blocks of a stage

    folder = tmp_path_factory.mktemp("features")
    write_features(
        folder / "train.tar", [(image.key, torch.full((QUERIES, 2), float(i))) for i, image in enumerate(images)]
    )
    reader = FeatureReader(folder)
    yield reader
    reader.close()


@pytest.fixture
def build(images: list[ImageRecord], features: FeatureReader, tokenizer: PreTrainedTokenizerFast, smoke: Config) -> Any:
    """``build(stage, seed, images)``."""

    def make(stage: Stage = smoke.stage4, seed: int = 3, records: list[ImageRecord] = images) -> StageBatches:
        return StageBatches(
            records,
            features,
            tokenizer,
            stage,
            name="stage4",
            image_token_id=SLOT,
            num_query_tokens=QUERIES,
            seed=seed,
        )

    return make

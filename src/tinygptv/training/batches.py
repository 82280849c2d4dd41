"""The batches of a stage, from the folders of the steps before it: to train on, or to look at again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tinygptv.data.batches import StageBatches
from tinygptv.data.features import FeatureReader
from tinygptv.data.shards import read_records
from tinygptv.data.summary import TRAINING, tars
from tinygptv.model.processing import read_tokenizer

if TYPE_CHECKING:
    from tinygptv.config import Config


def train_shards(shards: Path) -> list[Path]:
    """The tars of the training split, in their order."""
    return tars(shards, TRAINING)


def stage_batches(
    config: Config, name: str, seed: int, *, shards: Path, backbones: Path, features: Path
) -> StageBatches:
    """All batches of a stage.

    Args:
        config: the profile.
        name: the stage.
        seed: the pipeline's seed.
        shards: output of the step ``shards``.
        backbones: output of the step ``backbones``, which has the tokenizer.
        features: output of the step ``features``.

    Raises:
        DataError: shards or features are missing or damaged, or a task of the mixture has no records.
        CheckpointError: there is no tokenizer.
    """
    stage = config.stage(name)
    return StageBatches(
        read_records(train_shards(shards)),
        FeatureReader(features / str(stage.image_size)),
        read_tokenizer(backbones),
        stage,
        name=name,
        image_token_id=config.model.text.vocab_size,
        num_query_tokens=config.model.qformer.num_query_tokens,
        seed=seed,
    )

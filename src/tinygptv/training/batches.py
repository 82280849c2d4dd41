"""The batches of a stage, from the folders of the steps before it: to train on, or to look at again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tinygptv.data.batches import StageBatches
from tinygptv.data.features import FeatureReader
from tinygptv.data.mixture import entries_of
from tinygptv.data.views import open_view
from tinygptv.ground.errors import DataError
from tinygptv.ground.file_names import IMAGE_ENCODER
from tinygptv.ground.files import sha256_file
from tinygptv.model.processing import read_tokenizer

if TYPE_CHECKING:
    from tinygptv.config import Config


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
        DataError: an index or the features are missing, damaged or of another image encoder, or an entry of the mixture
            has no records.
        CheckpointError: there is no tokenizer.
    """
    stage, qformer = config.stage(name), config.model.qformer
    reader = FeatureReader(features, name)
    if reader.encoder != sha256_file(backbones / IMAGE_ENCODER):
        raise DataError("the cached features come from another image encoder; run `dvc repro features`")
    return StageBatches(
        entries_of(name, stage, config.data, open_view(shards, name)),
        reader,
        read_tokenizer(backbones),
        stage,
        name=name,
        image_token_id=config.model.text.vocab_size,
        query_shape=(qformer.num_query_tokens, qformer.hidden_size),
        seed=seed,
    )

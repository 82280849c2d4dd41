"""The batches of a stage, from the folders of the steps before it: to train on, or to look at again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tinygptv.data.batches import StageBatches
from tinygptv.data.features import FeatureReader
from tinygptv.data.in_loop import PixelReader, encoded
from tinygptv.data.loading import load
from tinygptv.data.mixture import entries_of
from tinygptv.data.views import open_view
from tinygptv.model.encoding import Pixels, encoder_of
from tinygptv.model.processing import build_image_processor, read_tokenizer
from tinygptv.training.randomness import random_state, set_random_state

if TYPE_CHECKING:
    import torch

    from tinygptv.config import Config, Stage
    from tinygptv.data.batches import Batch
    from tinygptv.data.index import RecordIndex


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
        DataError: an index or the features are missing or damaged, or an entry of the mixture has no records.
        CheckpointError: there is no tokenizer.
    """
    stage, qformer = config.stage(name), config.model.qformer
    indexes = open_view(shards, name)
    return StageBatches(
        entries_of(name, stage, config.data, indexes),
        _pixels(stage, indexes) if stage.features == "in_loop" else FeatureReader(features, name),
        read_tokenizer(backbones),
        stage,
        name=name,
        image_token_id=config.model.text.vocab_size,
        query_shape=(qformer.num_query_tokens, qformer.hidden_size),
        seed=seed,
    )


def steps_of(
    config: Config, name: str, batches: StageBatches, first: int, *, backbones: Path, device: torch.device
) -> Iterator[list[Batch]]:
    """The micro-batches of a stage's steps from one on, counted from 0, with the features of their images.

    Args:
        config: the profile.
        name: the stage.
        batches: of the stage.
        first: the step.
        backbones: output of the step ``backbones``, which has the image encoder.
        device: where the encoder runs, if it does.

    Raises:
        UserError: a step's records, features or images are damaged, or the encoder's file is missing.
    """
    stage = config.stage(name)
    steps = load(batches.batch, first, stage.steps, config.loader)
    if stage.features == "cached":
        return steps
    drawn = random_state()
    encode = encoder_of(config, backbones, device)
    set_random_state(drawn)  # making a model draws numbers; dropout shall have those that it has beside cached features
    return encoded(steps, encode, config.features.batch_size)


def _pixels(stage: Stage, indexes: Mapping[str, Mapping[str, RecordIndex]]) -> PixelReader:
    pixels = Pixels(build_image_processor(stage.image_size))
    return PixelReader({name: splits["train"] for name, splits in indexes.items()}, pixels)

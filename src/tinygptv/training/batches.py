"""The batches of a stage, from the folders of the steps before it: to train on, to validate with, to look at again."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tinygptv.data.batches import StageBatches
from tinygptv.data.features import FeatureReader
from tinygptv.data.in_loop import PixelReader, encoded
from tinygptv.data.loading import load
from tinygptv.data.mixture import entries_in, entries_of
from tinygptv.data.order import quotas
from tinygptv.data.views import open_view
from tinygptv.ground.errors import DataError
from tinygptv.ground.workers import ALONE, Workers
from tinygptv.model.encoding import Pixels, encoder_of
from tinygptv.model.processing import build_image_processor, read_tokenizer

if TYPE_CHECKING:
    import torch

    from tinygptv.config import Config, Stage
    from tinygptv.data.batches import Batch
    from tinygptv.data.index import RecordIndex
    from tinygptv.data.mixture import MixtureEntry

    Encode = Callable[[torch.Tensor], torch.Tensor]


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
    stage, indexes = config.stage(name), open_view(shards, name)
    entries = entries_of(name, stage, config.data, indexes)
    images = images_of(stage, name, "train", indexes, features)
    return _batches(config, name, stage, entries, images, backbones, seed)


def held_out_batches(
    config: Config, name: str, seed: int, *, shards: Path, backbones: Path, features: Path, encode: Encode | None
) -> list[Batch]:
    """The micro-batches with which a stage validates, with the features of their images.

    They are drawn as those of the training are, by a key of their own.

    Args:
        config: the profile.
        name: the stage; it has a section ``validation``.
        seed: the pipeline's seed.
        shards: output of the step ``shards``.
        backbones: output of the step ``backbones``, which has the tokenizer.
        features: output of the step ``features``.
        encode: as ``encoder_beside`` gives it.

    Raises:
        UserError: nothing of its data sets is held out, or an index, a record, features or an image are damaged.
    """
    stage, indexes = config.stage(name), open_view(shards, name)
    entries = {entry: rows for entry, rows in entries_in("val", stage, config.data, indexes).items() if len(rows)}
    if not entries:
        raise DataError(
            f"{name}.validation: its data sets have no held-out records; give one a `split: {{val: 0.1}}` in `data`, "
            f"or set {name}.validation to null"
        )
    looking = validating(stage, {entry: len(rows) for entry, rows in entries.items()})
    drawn_from = {entry: entries[entry] for entry in looking.mixture}
    images = images_of(stage, name, "val", indexes, features)
    batches = _batches(config, f"{name}/validation", looking, drawn_from, images, backbones, seed)
    made = [batches.batch(number) for number in range(looking.steps)]
    found = made if encode is None else encoded(made, encode, config.features.batch_size)
    return [batch for step in found for batch in step]


def validating(stage: Stage, sizes: Mapping[str, int]) -> Stage:
    """A stage whose steps are the micro-batches of its validation.

    They have the shares of the mixture, as far as its entries have held-out records; where all of these
    fill fewer micro-batches than ``validation.batches``, there are as many as it takes, all of one size.

    Args:
        stage: the stage's section of the configuration.
        sizes: entry of the mixture → its held-out records, above 0.
    """
    assert stage.validation is not None
    several, micro = stage.batch_size, stage.micro_batch_size
    weights = {entry: stage.mixture[entry] * (several[entry] if isinstance(several, dict) else 1) for entry in sizes}
    share = {entry: weight / sum(weights.values()) for entry, weight in weights.items()}
    micro = min(micro, max(several.values()) if isinstance(several, dict) else several)
    enough = max(math.ceil(sizes[entry] / share[entry]) for entry in sizes)
    number = min(stage.validation.batches, math.ceil(enough / micro))
    size = min(micro, math.ceil(enough / number))
    places = {entry: float(count) for entry, count in quotas(weights, number * size).items() if count}
    once = {"steps_per_epoch": number, "epochs": 1, "repeats": 1}
    return stage.model_copy(update={"mixture": places, "batch_size": size, "micro_batch_size": size, **once})


def encoder_beside(config: Config, name: str, backbones: Path, device: torch.device) -> Encode | None:
    """What encodes the images of a stage in its loop; None for one that reads cached features.

    Args:
        config: the profile.
        name: the stage.
        backbones: output of the step ``backbones``, which has the image encoder.
        device: where the encoder runs.

    Raises:
        UserError: the encoder's file is missing or damaged.
    """
    if config.stage(name).features == "cached":
        return None
    return encoder_of(config, backbones, device)


def steps_of(
    config: Config, name: str, batches: StageBatches, first: int, encode: Encode | None, workers: Workers = ALONE
) -> Iterator[list[Batch]]:
    """This process's micro-batches of a stage's steps from one on, counted from 0, with the features of their images.

    Args:
        config: the profile.
        name: the stage.
        batches: of the stage.
        first: the step.
        encode: as ``encoder_beside`` gives it.
        workers: the processes that share the stage.

    Raises:
        UserError: a step's records, features or images are damaged.
    """
    steps = load(partial(batches.batch, wanted=workers.share), first, config.stage(name).steps, config.loader)
    return steps if encode is None else encoded(steps, encode, config.features.batch_size)


def _batches(
    config: Config,
    name: str,
    stage: Stage,
    entries: Mapping[str, MixtureEntry],
    images: FeatureReader | PixelReader,
    backbones: Path,
    seed: int,
) -> StageBatches:
    qformer = config.model.qformer
    return StageBatches(
        entries,
        images,
        read_tokenizer(backbones),
        stage,
        name=name,
        image_token_id=config.model.text.vocab_size,
        query_shape=(qformer.num_query_tokens, qformer.hidden_size),
        seed=seed,
    )


def images_of(
    stage: Stage, name: str, split: str, indexes: Mapping[str, Mapping[str, RecordIndex]], features: Path
) -> FeatureReader | PixelReader:
    """What gives a stage the images of a split: their features, or their pixels.

    Raises:
        DataError: there is no view of its features.
    """
    if stage.features == "cached":
        return FeatureReader(features, name, split)
    pixels = Pixels(build_image_processor(stage.image_size))
    return PixelReader({name: splits[split] for name, splits in indexes.items() if split in splits}, pixels)

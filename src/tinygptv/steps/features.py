"""The step ``features``: Q-Former outputs of every training image at every resolution, computed once.

The image encoder is frozen and the recipe has no random crop, so they are a pure function of the image; training never
loads the encoder. Evaluation does not use them: it goes through the pixels.

One batch of decoded images and the features of one shard are in memory, however many there are. A shard that is done
stays in the step's state, so that a kill costs no more than one.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from tinygptv.ground import runtime
from tinygptv.ground.errors import DataError
from tinygptv.ground.file_names import IMAGE_ENCODER, MANIFEST, SUMMARY
from tinygptv.ground.files import sha256_file, write_json
from tinygptv.ground.progress import Progress

if TYPE_CHECKING:
    import torch
    from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

    from tinygptv.data.records import ImageSample
    from tinygptv.model.vision import TinyGPTVImageEncoder
    from tinygptv.steps.harness import StepContext


def run(context: StepContext) -> None:
    """Compute and store the features.

    Raises:
        DataError: there are no training shards, or one is damaged.
    """
    import torch

    from tinygptv.data.features import FinishedShards
    from tinygptv.data.shards import read_samples
    from tinygptv.data.summary import DIGESTS, TRAINING, count_images, read_digests, tars
    from tinygptv.data.tar_index import tar_index
    from tinygptv.model.backbones import image_encoder
    from tinygptv.model.processing import build_image_processor

    config, backbones, source = context.config, context.input("backbones"), context.input("shards")
    shards = tars(source, TRAINING)
    if not shards:
        raise DataError(f"{source} holds no {TRAINING}; run `dvc repro shards`")
    total = count_images(source, "train") or sum(len(tar_index(path)) for path in shards) // 2
    digests = read_digests(source) or {path.name: sha256_file(path) for path in shards}
    device = runtime.prepare(config.runtime, context.seed)
    encoder = image_encoder(config.model, backbones, getattr(torch, config.runtime.dtype)).to(device)
    encoder_digest = sha256_file(backbones / IMAGE_ENCODER)
    processors = {size: build_image_processor(size) for size in config.features.image_sizes}
    settings = {key: getattr(config, key).model_dump(mode="json") for key in ("runtime", "model", "features")}
    decides = {"encoder": encoder_digest, **settings, "environment": runtime.environment(), "code": context.code}

    finished = FinishedShards(context.state, decides)
    with Progress("features", total, unit="image") as progress:
        done = 0
        for path in shards:
            if finished.has(path.name, digests[path.name]):
                done += finished.images(path.name)
                progress.update(done)
                continue
            rows: dict[int, list[tuple[str, torch.Tensor]]] = {size: [] for size in processors}
            for part in _parts(read_samples([path]), config.features.batch_size):
                for size, features in encode(encoder, processors, part).items():
                    rows[size] += features
                done += len(part)
                progress.update(done)
            finished.add(path.name, digests[path.name], rows)
    for size in processors:
        folder = context.out / str(size)
        _link([finished.folder(size) / path.name for path in shards], folder)
        write_json(folder / SUMMARY, {DIGESTS: {path.name: finished.digest(path.name, size) for path in shards}})
    manifest = context.out / MANIFEST
    write_json(manifest, {IMAGE_ENCODER: encoder_digest, "images": done})
    context.run.artifact(manifest)
    context.run.metrics({"images": done})


def encode(
    encoder: TinyGPTVImageEncoder, processors: Mapping[int, BlipImageProcessorPil], samples: list[ImageSample]
) -> dict[int, list[tuple[str, torch.Tensor]]]:
    """By resolution: key and Q-Former outputs [Q, D] of each sample of a batch."""
    import torch

    found: dict[int, list[tuple[str, torch.Tensor]]] = {}
    for size, processor in processors.items():
        pixels_BCHW = processor([sample.image for sample in samples], return_tensors="pt")["pixel_values"]
        with torch.inference_mode():
            query_BQD = encoder(pixels_BCHW.to(encoder.device)).cpu()
        found[size] = [(sample.key, query_QD) for sample, query_QD in zip(samples, query_BQD, strict=True)]
    return found


def _parts(samples: Iterable[ImageSample], size: int) -> Iterator[list[ImageSample]]:
    rest = iter(samples)
    while part := list(islice(rest, size)):
        yield part


def _link(tars: Iterable[Path], target: Path) -> None:
    """The same tars in another folder, where the disk can without a second copy: the first folder goes anyway."""
    target.mkdir()
    for path in tars:
        try:
            os.link(path, target / path.name)
        except OSError:
            shutil.copyfile(path, target / path.name)

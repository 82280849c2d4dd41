"""The step ``features``: Q-Former outputs of every training image at every resolution, computed once.

The image encoder is frozen and the recipe has no random crop, so they are a pure function of the image; training never
loads the encoder. Evaluation does not use them: it goes through the pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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

    from tinygptv.data.features import write_features
    from tinygptv.data.shards import read_samples
    from tinygptv.data.summary import DIGESTS, TRAINING, tars
    from tinygptv.model.backbones import image_encoder
    from tinygptv.model.processing import build_image_processor

    config, backbones = context.config, context.input("backbones")
    shards = tars(context.input("shards"), TRAINING)
    if not shards:
        raise DataError(f"{context.input('shards')} holds no {TRAINING}; run `dvc repro shards`")
    device = runtime.prepare(config.runtime, context.seed)
    encoder = image_encoder(config.model, backbones, getattr(torch, config.runtime.dtype)).to(device)

    samples = {path.name: list(read_samples([path])) for path in shards}
    total = sum(map(len, samples.values()))
    for size in config.features.image_sizes:
        folder = context.out / str(size)
        folder.mkdir()
        processor = build_image_processor(size)
        with Progress(f"features {size} px", total) as progress:
            done = 0
            for name, content in samples.items():
                write_features(folder / name, encode(encoder, processor, content, config.features.batch_size))
                done += len(content)
                progress.update(done)
        write_json(folder / SUMMARY, {DIGESTS: {path.name: sha256_file(path) for path in sorted(folder.glob("*.tar"))}})
    encoder_digest = sha256_file(backbones / IMAGE_ENCODER)
    manifest = context.out / MANIFEST
    write_json(manifest, {IMAGE_ENCODER: encoder_digest, "images": total})
    context.run.artifact(manifest)
    context.run.metrics({"images": total})


def encode(
    encoder: TinyGPTVImageEncoder, processor: BlipImageProcessorPil, samples: Sequence[ImageSample], batch_size: int
) -> Iterator[tuple[str, torch.Tensor]]:
    """Key and Q-Former outputs [Q, D] of each sample."""
    import torch

    device = encoder.device
    for start in range(0, len(samples), batch_size):
        part = samples[start : start + batch_size]
        pixels_BCHW = processor([sample.image for sample in part], return_tensors="pt")["pixel_values"]
        with torch.inference_mode():
            query_BQD = encoder(pixels_BCHW.to(device)).cpu()
        yield from ((sample.key, query_QD) for sample, query_QD in zip(part, query_BQD, strict=True))

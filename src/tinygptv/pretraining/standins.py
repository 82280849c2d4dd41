"""Small stand-ins for the published backbones: an image encoder, a language model and its tokenizer.

The tiny profile has nothing to download, so both are trained on the training shards, side by side, each in a process of
its own with half of the threads.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tinygptv.config import Config, Pretrained
from tinygptv.data.summary import TRAINING
from tinygptv.data.views import viewed_tars
from tinygptv.ground import runtime
from tinygptv.ground.children import child
from tinygptv.ground.errors import DataError
from tinygptv.ground.file_names import IMAGE_ENCODER, LANGUAGE_MODEL
from tinygptv.ground.files import read_json, write_json
from tinygptv.ground.progress import Progress

TOKENIZER_TEXTS = 1000
"""Documents of each task that the tokenizer is trained on."""
LOG_EVERY = 25
CURVES = ("vision", "text")


@dataclass(frozen=True, slots=True)
class StandInJob:
    """What a pretraining process needs."""

    config: Config
    seed: int
    shards: Path
    out: Path

    @property
    def settings(self) -> Pretrained:
        """The section of the configuration."""
        assert isinstance(self.config.backbones, Pretrained)
        return self.config.backbones

    def training_shards(self) -> list[list[Path]]:
        """Tars of the training split of each data set that the stand-ins are made of: nothing here sees another split.

        Raises:
            DataError: a data set has none, or is not the one of the view of ``backbones``.
        """
        known, found = viewed_tars(self.shards, "backbones", TRAINING, self.settings.data), []
        for name in self.settings.data:
            if not (paths := known.get(name, [])):
                raise DataError(f"{self.shards} holds no {TRAINING} of the data set {name}; run `dvc repro shards`")
            found.append(paths)
        return found

    @property
    def threads(self) -> int:
        """Half of the configured threads."""
        return max(1, self.config.runtime.threads // 2)


def make(job: StandInJob) -> None:
    """Write image encoder, language model, tokenizer and both loss curves.

    Raises:
        DataError: the shards hold too little to pretrain on.
    """
    job.training_shards()
    with child(pretrain_text, job):
        pretrain_vision(job)


def curve_path(folder: Path, name: str) -> Path:
    """Where a loss curve lies."""
    return folder / f"{name}_loss.json"


def read_curve(path: Path) -> list[dict[str, float]]:
    """Points of a loss curve that a pretraining process has written."""
    return list(read_json(path))


def pretrain_vision(job: StandInJob) -> None:
    """Train image tower and Q-Former; write their weights and the loss curve."""
    import numpy as np
    import torch

    from tinygptv.data.shards import read_samples
    from tinygptv.model.configuration import image_config
    from tinygptv.model.processing import build_image_processor
    from tinygptv.model.vision import TinyGPTVImageEncoder
    from tinygptv.model.weights import save_weights
    from tinygptv.pretraining import contrast

    runtime.prepare(job.config.runtime, job.seed, job.threads)
    samples = (sample for paths in job.training_shards() for sample in read_samples(paths))
    images = contrast.captioned_images(samples)
    encoder = TinyGPTVImageEncoder(image_config(job.config.model))
    processor = build_image_processor(job.config.model.vision.image_size)
    scale = torch.tensor(np.array(processor.image_std, dtype=np.float32) * 255)
    shift = torch.tensor(np.array(processor.image_mean, dtype=np.float32) * 255)

    def normalise(pixels_BHWC: torch.Tensor) -> torch.Tensor:
        return ((pixels_BHWC.float() - shift) / scale).permute(0, 3, 1, 2).contiguous()  # BHWC -> BCHW

    settings = job.settings.vision
    curve = Curve("vision", settings.steps)
    with curve.progress:
        contrast.pretrain(encoder, images, settings, job.seed, normalise, curve.add)
    save_weights(job.out / IMAGE_ENCODER, encoder.state_dict())
    curve.write(job.out)


def pretrain_text(job: StandInJob) -> None:
    """Train the tokenizer, then the language model; write both and the loss curve."""
    from tinygptv.data.shards import read_records
    from tinygptv.model.language import architecture_of, of_profile
    from tinygptv.model.profile import from_profile
    from tinygptv.model.weights import save_weights
    from tinygptv.pretraining import language
    from tinygptv.pretraining.documents import Documents, describe, train_tokenizer

    runtime.prepare(job.config.runtime, job.seed, job.threads)
    images = describe(record for paths in job.training_shards() for record in read_records(paths))
    settings = job.settings.text
    sampler = Documents(images, settings, job.seed + 1)
    texts = [text for task in settings.mixture for _ in range(TOKENIZER_TEXTS) for text, _ in sampler.draw(task)]
    ends = of_profile(job.config.model.text)
    tokenizer = train_tokenizer(
        texts, settings.prompt, job.config.model.text.vocab_size, ends.end_of_text, ends.begin_of_text
    )
    tokenizer.save_pretrained(job.out)
    sizes = from_profile(job.config.model, tokenizer.eos_token_id, tokenizer.bos_token_id).text_config
    model = architecture_of(sizes).model(sizes)
    curve = Curve("text", settings.steps)
    with curve.progress:
        language.pretrain(model, tokenizer, Documents(images, settings, job.seed), settings, curve.add)
    save_weights(job.out / LANGUAGE_MODEL, model.state_dict())
    curve.write(job.out)


class Curve:
    """A loss curve that is shown while it grows."""

    def __init__(self, name: str, steps: int) -> None:
        self.name, self.steps = name, steps
        self.progress = Progress(name, steps)
        self._points: list[dict[str, float]] = []
        self._window: list[float] = []

    def add(self, step: int, loss: float) -> None:
        """Take in the loss of a step."""
        self._window.append(loss)
        self.progress.update(step, loss=loss)
        if step % LOG_EVERY == 0 or step == self.steps:
            self._points.append({"step": step, "loss": sum(self._window) / len(self._window)})
            self._window.clear()

    def write(self, folder: Path) -> None:
        """Write the points as ``<name>_loss.json``."""
        write_json(curve_path(folder, self.name), self._points)

"""A stage's model, ready to answer."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from tinygptv.ground import runtime
from tinygptv.ground.file_names import INIT_FOLDER
from tinygptv.ground.files import canonical
from tinygptv.ground.names import STAGES

if TYPE_CHECKING:
    from tinygptv.config import Config
    from tinygptv.model.inference import VisionLanguageModel
    from tinygptv.model.modeling import TinyGPTVForConditionalGeneration
    from tinygptv.model.processing import TinyGPTVProcessor


def open_stage(config: Config, stage: str, backbones: Path, checkpoint: Path) -> VisionLanguageModel:
    """The model as a stage left it.

    Args:
        config: the profile.
        stage: the stage.
        backbones: output of the step ``backbones``.
        checkpoint: output of the stage.

    Raises:
        CheckpointError: a file is missing, or does not fit.
    """
    from tinygptv.model import assembly, stage_checkpoint

    model = assembly.assemble(config, backbones, with_tower=True)
    stage_checkpoint.load_stage(model, checkpoint, stage, config, backbones)
    return _ready(config, stage, model, backbones)


def open_start(config: Config, seed: int, backbones: Path) -> VisionLanguageModel:
    """The model that stage 1 begins with: backbones and a fresh projection, or what the profile started from.

    Args:
        config: the profile.
        seed: that of the pipeline; it is set anew, as stage 1 does before it makes the projection.
        backbones: output of the step ``backbones``.

    Raises:
        CheckpointError: a file is missing, or does not fit.
    """
    from tinygptv.model import assembly, stage_checkpoint

    runtime.prepare(config.runtime, seed)
    model = assembly.assemble(config, backbones, with_tower=True)
    if (init := backbones / INIT_FOLDER).is_dir():
        stage_checkpoint.load_stage(model, init, INIT_FOLDER, config, backbones)
    return _ready(config, STAGES[0], model, backbones)


def start_identity(config: Config, seed: int, backbones: Path) -> str:
    """Digest of all that makes the model that ``open_start`` opens, but for the section `runtime`.

    Raises:
        CheckpointError: a file is missing, or is not that of its manifest.
    """
    from tinygptv.model.stage_checkpoint import read_manifest

    init = backbones / INIT_FOLDER
    begun = read_manifest(init, INIT_FOLDER).sha256 if init.is_dir() else f"seed {seed}"
    return _identity(config, STAGES[0], begun, backbones)


def stage_identity(config: Config, stage: str, backbones: Path, checkpoint: Path) -> str:
    """Digest of all that makes the model that ``open_stage`` opens, but for the section `runtime`.

    Raises:
        CheckpointError: a file is missing, or is not that of its manifest.
    """
    from tinygptv.model.stage_checkpoint import read_manifest

    return _identity(config, stage, read_manifest(checkpoint, stage).sha256, backbones)


def processor_of(config: Config, stage: str, backbones: Path) -> TinyGPTVProcessor:
    """The processor of a stage's model; ``backbones`` has the tokenizer.

    Raises:
        CheckpointError: there is none, or it is of other weights.
    """
    from tinygptv.model.processing import build_processor, read_tokenizer

    return build_processor(
        read_tokenizer(backbones),
        config.stage(stage).prompt,
        image_size=config.stage(stage).image_size,
        num_query_tokens=config.model.qformer.num_query_tokens,
        vocab_size=config.model.text.vocab_size,
    )


def _ready(config: Config, stage: str, model: TinyGPTVForConditionalGeneration, backbones: Path) -> VisionLanguageModel:
    """A model as a stage's is asked."""
    import torch

    from tinygptv.model import assembly
    from tinygptv.model.inference import VisionLanguageModel

    dtype = getattr(torch, config.runtime.dtype)
    model = assembly.for_inference(model, dtype).to(runtime.resolve_device(config.runtime.device))
    return VisionLanguageModel(model, processor_of(config, stage, backbones))


def _identity(config: Config, stage: str, trained: str, backbones: Path) -> str:
    from tinygptv.model.weights import backbone_digests

    settings = config.stage(stage)
    told = [
        trained,
        backbone_digests(backbones),
        config.model.model_dump(mode="json"),
        settings.image_size,
        settings.prompt.model_dump(),
    ]
    return sha256(canonical(told).encode()).hexdigest()

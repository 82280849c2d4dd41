"""A stage's model, ready to answer, and how it is asked."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from tinygptv.ground import runtime
from tinygptv.ground.files import canonical
from tinygptv.ground.names import LAST_STAGE

if TYPE_CHECKING:
    from tinygptv.config import Config, Prompt
    from tinygptv.model.inference import VisionLanguageModel
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
    import torch

    from tinygptv.model import assembly, stage_checkpoint
    from tinygptv.model.inference import VisionLanguageModel

    model = assembly.assemble(config, backbones, with_tower=True)
    stage_checkpoint.load_stage(model, checkpoint, stage, config, backbones)
    dtype = getattr(torch, config.runtime.dtype)
    model = assembly.for_inference(model, dtype).to(runtime.resolve_device(config.runtime.device))
    return VisionLanguageModel(model, processor_of(config, stage, backbones))


def stage_identity(config: Config, stage: str, backbones: Path, checkpoint: Path) -> str:
    """Digest of all that makes the model that ``open_stage`` opens, but for the section `runtime`.

    Raises:
        CheckpointError: a file is missing, or is not that of its manifest.
    """
    from tinygptv.model.stage_checkpoint import read_manifest
    from tinygptv.model.weights import backbone_digests

    settings = config.stage(stage)
    told = [
        read_manifest(checkpoint, stage).sha256,
        backbone_digests(backbones),
        config.model.model_dump(mode="json"),
        settings.image_size,
        settings.prompt.model_dump(),
    ]
    return sha256(canonical(told).encode()).hexdigest()


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


def prompts_of(config: Config, stage: str) -> dict[str, Prompt]:
    """How a stage is asked: for captions in its own form, for what it was not taught in that of the last stage."""
    last = config.stage(LAST_STAGE).prompt
    return {"vqa": last, "refer": last, "caption": config.stage(stage).prompt}

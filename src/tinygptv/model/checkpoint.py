"""Weights on disk: backbones, and the checkpoint of a stage (trained tensors and a manifest).

Nothing is loaded that was not made for what it is loaded into: stage, parent, base weights and tokenizer are compared
by digest first.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinygptv.config import STAGES, Config
from tinygptv.errors import CheckpointError
from tinygptv.files import read_json, sha256_file, write_json

if TYPE_CHECKING:
    import torch
    from torch import nn

    from tinygptv.model.modeling import TinyGPTVForConditionalGeneration

IMAGE_ENCODER, LANGUAGE_MODEL, TOKENIZER = "image_encoder.safetensors", "language_model.safetensors", "tokenizer.json"
TRAINED, MANIFEST, HISTORY = "trained.safetensors", "manifest.json", "history.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a stage's checkpoint says of itself."""

    stage: str
    parent: dict[str, str] | None
    """Stage and digest of the checkpoint that training began from; None for stage 1."""
    backbones: dict[str, str]
    """Digests of the frozen weights and the tokenizer."""
    features: str
    """Digest of the cached features that it was trained on."""
    trainable: dict[str, int]
    """Parameters by group."""
    seed: int
    config: dict[str, Any]
    """The sections `runtime`, `model` and the stage's own."""
    environment: dict[str, Any]
    sha256: str
    """Digest of ``trained.safetensors``."""


def save_weights(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Write safetensors whose bytes depend on names and values only."""
    from safetensors.torch import save_file

    save_file({name: tensors[name].detach().contiguous().cpu() for name in sorted(tensors)}, path)


def load_weights(path: Path) -> dict[str, torch.Tensor]:
    """Read safetensors.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing; run `dvc repro {path.parent.name}`") from None
    except SafetensorError as error:
        raise CheckpointError(f"{path} is damaged ({error}); run `dvc checkout` or repeat its step") from None


def backbone_digests(folder: Path) -> dict[str, str]:
    """Digests of the frozen weights and the tokenizer.

    Raises:
        CheckpointError: one of the files is missing.
    """
    for name in (IMAGE_ENCODER, LANGUAGE_MODEL, TOKENIZER):
        if not (folder / name).is_file():
            raise CheckpointError(f"{folder / name} is missing; run `dvc repro backbones`")
    return {name: sha256_file(folder / name) for name in (IMAGE_ENCODER, LANGUAGE_MODEL, TOKENIZER)}


def load_strictly(module: nn.Module, path: Path) -> None:
    """Fill a module from a file that must have exactly its tensors.

    Raises:
        CheckpointError: lists missing, unknown and misshapen tensors.
    """
    tensors = load_weights(path)
    expected = module.state_dict()
    missing, unknown = sorted(expected.keys() - tensors.keys()), sorted(tensors.keys() - expected.keys())
    misshapen = sorted(n for n in expected.keys() & tensors.keys() if expected[n].shape != tensors[n].shape)
    problems = {"missing": missing, "unknown": unknown, "of another shape": misshapen}
    if any(problems.values()):
        listed = "; ".join(f"{what}: {', '.join(names[:5])}" for what, names in problems.items() if names)
        raise CheckpointError(f"{path} does not fit the configuration's model ({listed}); repeat its step")
    module.load_state_dict(tensors, strict=True)


def assemble(config: Config, backbones: Path, *, with_tower: bool) -> TinyGPTVForConditionalGeneration:
    """Backbones and a fresh projection (torch's default initialisation, from the global seed).

    Args:
        config: the profile.
        backbones: the folder of the step.
        with_tower: False leaves the image encoder without memory, for training on cached features.

    Raises:
        CheckpointError: a file is missing or does not fit.
    """
    import torch

    from tinygptv.model.configuration import from_profile
    from tinygptv.model.modeling import TinyGPTVForConditionalGeneration, TinyGPTVProjector
    from tinygptv.model.phi import TinyGPTVPhiForCausalLM
    from tinygptv.model.processing import check_vocabulary, read_tokenizer
    from tinygptv.model.vision import TinyGPTVImageEncoder

    tokenizer = read_tokenizer(backbones)
    check_vocabulary(tokenizer, config.model.text.vocab_size)
    sizes = from_profile(config.model, tokenizer.eos_token_id)
    with torch.device("meta"):
        model = TinyGPTVForConditionalGeneration(sizes)
    model.projector = TinyGPTVProjector(sizes)
    model.language_model = TinyGPTVPhiForCausalLM(sizes.text_config)
    load_strictly(model.language_model, backbones / LANGUAGE_MODEL)
    if with_tower:
        model.image_encoder = TinyGPTVImageEncoder(sizes)
        load_strictly(model.image_encoder, backbones / IMAGE_ENCODER)
    return model


def parent_of(stage: str) -> str | None:
    """The stage whose checkpoint a stage begins from."""
    index = STAGES.index(stage)
    return STAGES[index - 1] if index else None


def write_checkpoint(folder: Path, tensors: dict[str, torch.Tensor], manifest: dict[str, Any]) -> None:
    """Write a stage's checkpoint: trained tensors, then the manifest with their digest."""
    save_weights(folder / TRAINED, tensors)
    complete = Manifest(**manifest, sha256=sha256_file(folder / TRAINED))
    write_json(folder / MANIFEST, asdict(complete))


def read_manifest(folder: Path, stage: str) -> Manifest:
    """Read and check the manifest of a stage's checkpoint.

    Raises:
        CheckpointError: it belongs to another stage, has other keys, or the tensors are not those it was written for.
    """
    content = read_json(folder / MANIFEST)
    try:
        manifest = Manifest(**content)
    except TypeError:
        raise CheckpointError(f"{folder / MANIFEST} has other keys than this version writes; repeat {stage}") from None
    if manifest.stage != stage:
        raise CheckpointError(f"{folder} is a checkpoint of {manifest.stage}, {stage} is needed here")
    if not (folder / TRAINED).is_file() or sha256_file(folder / TRAINED) != manifest.sha256:
        raise CheckpointError(f"{folder / TRAINED} is missing or not the file of its manifest; run `dvc checkout`")
    return manifest


def load_stage(
    model: TinyGPTVForConditionalGeneration, folder: Path, stage: str, config: Config, backbones: Path
) -> Manifest:
    """Load a stage's checkpoint into an assembled model, with its adapters where the stage has them.

    Raises:
        CheckpointError: the checkpoint is of another stage, or was trained on other backbones or another tokenizer.
    """
    from tinygptv.model.adapters import add_lora, freeze, has_lora, load_tensors, trainable_parameters

    manifest = read_manifest(folder, stage)
    for name, digest in backbone_digests(backbones).items():
        if manifest.backbones.get(name) != digest:
            raise CheckpointError(f"{folder} was trained with another {name} than {backbones / name}; repeat {stage}")
    if "lora" in manifest.trainable and not has_lora(model):
        add_lora(model, config.model.lora)
    freeze(model, manifest.trainable)
    tensors = load_weights(folder / TRAINED)
    missing = sorted(trainable_parameters(model).keys() - tensors.keys())
    if missing:
        raise CheckpointError(f"{folder / TRAINED} lacks {', '.join(missing[:5])}; repeat {stage}")
    load_tensors(model, tensors, str(folder / TRAINED))
    return manifest

"""Weights on disk: safetensors, and the backbones of a profile."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinygptv.ground.errors import CheckpointError, true_cause
from tinygptv.ground.file_names import IMAGE_ENCODER, LANGUAGE_MODEL, MANIFEST, TOKENIZER
from tinygptv.ground.files import needing, sha256_file, write_json

if TYPE_CHECKING:
    import torch

BACKBONES = (IMAGE_ENCODER, LANGUAGE_MODEL, TOKENIZER)


def save_weights(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Write safetensors whose bytes depend on names and values only."""
    from safetensors.torch import save_file

    ordered = {name: tensors[name].detach().contiguous().cpu() for name in sorted(tensors)}
    with needing(path, sum(tensor.nbytes for tensor in ordered.values())):
        save_file(ordered, path)


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
        damaged = CheckpointError(f"{path} is damaged ({error}); run `dvc checkout` or repeat its step")
        raise true_cause(error, f"reading {path}") or damaged from None


def backbone_digests(folder: Path) -> dict[str, str]:
    """Digests of the frozen weights and the tokenizer.

    Raises:
        CheckpointError: one of the files is missing.
    """
    for name in BACKBONES:
        if not (folder / name).is_file():
            raise CheckpointError(f"{folder / name} is missing; run `dvc repro backbones`")
    return {name: sha256_file(folder / name) for name in BACKBONES}


def describe_backbones(folder: Path, sizes: Mapping[str, Any], init: Mapping[str, str]) -> dict[str, str]:
    """Write the manifest of a folder of backbones: for profiles that start from them, and for stages on top of them.

    Args:
        folder: the folder, complete.
        sizes: the section ``model`` of the profile.
        init: what they were taken from and its digest; empty for nothing.

    Returns:
        Their digests.
    """
    files = backbone_digests(folder)
    write_json(folder / MANIFEST, {"files": files, "init": dict(init), "model": dict(sizes)})
    return files

"""The checkpoint of a stage on disk: all in which it differs from the backbones, and a manifest.

Nothing is loaded that was not made for what it is loaded into: stage, parent, base weights and tokenizer are compared
by digest first.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinygptv.ground.errors import CheckpointError
from tinygptv.ground.file_names import MANIFEST, TRAINED
from tinygptv.ground.files import read_json, sha256_file, write_json
from tinygptv.ground.names import STAGES
from tinygptv.model.weights import backbone_digests, load_weights, save_weights

if TYPE_CHECKING:
    import torch

    from tinygptv.config import Config
    from tinygptv.model.modeling import TinyGPTVForConditionalGeneration


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a stage's checkpoint says of itself."""

    stage: str
    parent: dict[str, str] | None
    """Stage and digest of the checkpoint that training began from, or ``init``; None where there was none."""
    backbones: dict[str, str]
    """Digests of the frozen weights and the tokenizer."""
    features: str
    """Digest of the view of the features that it was trained on; empty for imported weights and without epochs."""
    trainable: dict[str, int]
    """Parameters that this stage trained, by group; empty where it has no epochs."""
    held: dict[str, int] = field(default_factory=dict)
    """Parameters in ``trained.safetensors`` by group: those of the earlier stages stay, too, and the projection.

    Empty in checkpoints older than this key: they hold what their stage trained.
    """
    seed: int
    config: dict[str, Any]
    """The sections `runtime`, `model` and the stage's own."""
    environment: dict[str, Any]
    changes: list[str]
    """Settings that were changed while it trained (``--allow-changed``); none in a reproducible run."""
    sha256: str
    """Digest of ``trained.safetensors``."""
    init: dict[str, str] = field(default_factory=dict)
    """What the profile started from, as its section ``init`` names it (``from``), and its digest; empty for nothing."""

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups that the checkpoint must hold."""
        from tinygptv.model.adapters import held_groups

        return held_groups(self.held, self.trainable)


def parent_of(stage: str) -> str | None:
    """The stage whose checkpoint a stage begins from."""
    index = STAGES.index(stage)
    return STAGES[index - 1] if index else None


def init_of(backbones: Path) -> dict[str, str]:
    """What a profile started from, by the manifest of its backbones; empty for nothing."""
    path = backbones / MANIFEST
    return dict(read_json(path)["init"]) if path.is_file() else {}


def write_checkpoint(folder: Path, tensors: dict[str, torch.Tensor], manifest: dict[str, Any]) -> None:
    """Write a stage's checkpoint: its tensors, then the manifest with their digest."""
    save_weights(folder / TRAINED, tensors)
    _write_manifest(folder, manifest)


def _write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    complete = Manifest(**manifest, sha256=sha256_file(folder / TRAINED))
    write_json(folder / MANIFEST, asdict(complete))


def save_stage(
    model: TinyGPTVForConditionalGeneration, folder: Path, manifest: dict[str, Any], earlier: Iterable[str]
) -> None:
    """Write all in which a model differs from its backbones as the checkpoint of a stage; nothing trains afterwards.

    Args:
        model: as the stage leaves it.
        folder: where to write.
        manifest: all keys of ``Manifest`` but ``held`` and ``sha256``.
        earlier: groups that the stages before have trained, whether or not this one does.
    """
    from tinygptv.model.adapters import freeze, held_groups, trainable_state

    held = freeze(model, held_groups(manifest["trainable"], earlier))
    write_checkpoint(folder, trainable_state(model), {**manifest, "held": held.trainable})


def hand_on(parent: Path, stage: str, folder: Path, manifest: dict[str, Any]) -> None:
    """Write the checkpoint of a stage that trains nothing: what it would begin from, byte for byte.

    Args:
        parent: the folder of the stage before.
        stage: that stage.
        folder: where to write.
        manifest: all keys of ``Manifest`` but ``parent``, ``trainable``, ``held`` and ``sha256``.

    Raises:
        CheckpointError: the parent is of another stage, or was trained on other backbones or another tokenizer.
    """
    given = read_manifest(parent, stage)
    check_backbones(given, parent, manifest["backbones"])
    shutil.copyfile(parent / TRAINED, folder / TRAINED)
    origin = {"stage": given.stage, "sha256": given.sha256}
    _write_manifest(folder, {**manifest, "parent": origin, "trainable": {}, "held": given.held or given.trainable})


def read_manifest(folder: Path, stage: str | None = None) -> Manifest:
    """Read and check the manifest of a stage's checkpoint; None: whichever stage it is of.

    Raises:
        CheckpointError: it belongs to another stage, has other keys, or the tensors are not those it was written for.
    """
    content = read_json(folder / MANIFEST)
    try:
        manifest = Manifest(**content)
    except TypeError:
        raise CheckpointError(
            f"{folder / MANIFEST} has other keys than this version writes; repeat {stage or folder.name}"
        ) from None
    if stage is not None and manifest.stage != stage:
        raise CheckpointError(f"{folder} is a checkpoint of {manifest.stage}, {stage} is needed here")
    if not (folder / TRAINED).is_file() or sha256_file(folder / TRAINED) != manifest.sha256:
        raise CheckpointError(f"{folder / TRAINED} is missing or not the file of its manifest; run `dvc checkout`")
    return manifest


def check_backbones(manifest: Manifest, folder: Path, digests: Mapping[str, str]) -> None:
    """A checkpoint is of use with the backbones that it was trained on.

    Raises:
        CheckpointError: those at hand are others, or their tokenizer is.
    """
    for name, digest in digests.items():
        if manifest.backbones.get(name) != digest:
            raise CheckpointError(
                f"{folder} was trained with another {name} than the one in backbones; repeat {manifest.stage}"
            )


def load_stage(
    model: TinyGPTVForConditionalGeneration, folder: Path, stage: str, config: Config, backbones: Path
) -> Manifest:
    """Load a stage's checkpoint into an assembled model, with its adapters where the stage has them.

    Raises:
        CheckpointError: the checkpoint is of another stage, or was trained on other backbones or another tokenizer.
    """
    from tinygptv.model.adapters import add_lora, freeze, has_lora, load_tensors, trainable_parameters

    manifest = read_manifest(folder, stage)
    check_backbones(manifest, folder, backbone_digests(backbones))
    if "lora" in manifest.groups and not has_lora(model):
        add_lora(model, config.model.lora)
    freeze(model, manifest.groups)
    tensors = load_weights(folder / TRAINED)
    missing = sorted(trainable_parameters(model).keys() - tensors.keys())
    if missing:
        raise CheckpointError(f"{folder / TRAINED} lacks {', '.join(missing[:5])}; repeat {stage}")
    load_tensors(model, tensors, str(folder / TRAINED))
    return manifest

"""Finished weights as the backbones of a profile that starts from them, and what stages trained beside these.

``init`` in the step's output is the checkpoint that the first stage goes on from. Of an imported model it holds
projection and adapters; norms that were trained are in its language model.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinygptv.config.model import YOUNGER
from tinygptv.ground import digests
from tinygptv.ground.differences import NOTHING, differing_keys
from tinygptv.ground.errors import CheckpointError
from tinygptv.ground.file_names import (
    IMAGE_ENCODER,
    INIT_FOLDER,
    LANGUAGE_MODEL,
    MANIFEST,
    MODEL_CONFIG,
    TOKENIZER,
    TOKENIZER_CONFIG,
)
from tinygptv.ground.files import link_or_copy, read_json
from tinygptv.ground.tables import some
from tinygptv.model.weights import backbone_digests

if TYPE_CHECKING:
    import torch

    from tinygptv.config import Config, Model
    from tinygptv.model.stage_checkpoint import Manifest

TAKEN = (IMAGE_ENCODER, LANGUAGE_MODEL, TOKENIZER, TOKENIZER_CONFIG)
FREE = ("initializer_range", "text.resid_pdrop", "lora.dropout")
"""Keys of the section ``model`` that are no sizes: training may go on with other values."""


def take(backbones: Path, stage: Path | None, out: Path, manifest: dict[str, Any], model: Model) -> None:
    """Take outputs of steps, of any profile.

    Args:
        backbones: output of the step ``backbones``.
        stage: output of a stage that was trained on them, to go on from; None: the backbones alone.
        out: where to write.
        manifest: for the checkpoint: the keys of ``Manifest`` that say where and how this is made.
        model: the profile's sizes.

    Raises:
        CheckpointError: a file is missing or damaged, they do not belong together, or sizes differ.
    """
    from tinygptv.model.stage_checkpoint import hand_on

    given = check_trained(backbones, stage, model) if stage is not None else None
    if given is None:
        check_alone(backbones, model)
    link_backbones(backbones, out)
    if given is not None and stage is not None:
        (out / INIT_FOLDER).mkdir()
        inside = {**manifest, "stage": INIT_FOLDER, "backbones": given.backbones}
        hand_on(stage, given.stage, out / INIT_FOLDER, inside)


def link_backbones(source: Path, out: Path) -> None:
    """The files of backbones that models are made of, without those on how they came to be."""
    for name in TAKEN:
        if (source / name).is_file():
            link_or_copy(source / name, out / name)


def check_trained(backbones: Path, stage: Path, model: Model) -> Manifest:
    """A stage's checkpoint must be whole, of these backbones, and of the profile's sizes.

    Raises:
        CheckpointError: it is not.
    """
    from tinygptv.model.stage_checkpoint import check_backbones, read_manifest

    given = read_manifest(stage)
    check_backbones(given, stage, backbone_digests(backbones))
    adapted = "lora" in {**given.trainable, **given.held}
    check_sizes(model, given.config["model"], () if adapted else ("lora",), str(stage))
    return given


def check_alone(backbones: Path, model: Model) -> None:
    """Backbones must be whole and of the profile's sizes, by their manifest.

    Raises:
        CheckpointError: they are not, or have none.
    """
    content = read_json(backbones / MANIFEST) if (backbones / MANIFEST).is_file() else {}
    if "model" not in content:
        raise CheckpointError(f"{backbones} does not say its sizes, as those of this version do; repeat its step")
    for name, digest in backbone_digests(backbones).items():
        if content["files"].get(name) != digest:
            raise CheckpointError(f"{backbones / name} is not the file of its manifest; run `dvc checkout`")
    check_sizes(model, content["model"], ("lora",), str(backbones))


def take_imported(folder: Path, out: Path, manifest: dict[str, Any], config: Config) -> None:
    """Take an imported model.

    Args:
        folder: of ``tinygptv import-checkpoint``, or of any whole model that is not in 8 bits.
        out: where to write.
        manifest: as of ``take``.
        config: the profile.

    Raises:
        CheckpointError: the folder is incomplete or in 8 bits, or sizes or adapters differ.
        DataError: a file is damaged.
    """
    from accelerate import init_empty_weights

    from tinygptv.model.authors import Converted
    from tinygptv.model.authors.unmerged import open_unmerged, refuse_8bit
    from tinygptv.model.language import of_profile
    from tinygptv.model.processing import check_vocabulary, read_tokenizer
    from tinygptv.model.profile import from_profile
    from tinygptv.model.stage_checkpoint import write_checkpoint
    from tinygptv.model.upstream.build import write
    from tinygptv.model.vision import TinyGPTVImageEncoder

    digests.check(folder)
    refuse_8bit(folder)
    found = open_unmerged(folder)
    tokenizer = read_tokenizer(folder)
    check_vocabulary(tokenizer, config.model.text.vocab_size)
    sizes = from_profile(config.model, tokenizer.eos_token_id, tokenizer.bos_token_id)
    check_configuration(config.model, sizes.to_dict(), read_json(folder / MODEL_CONFIG), str(folder))
    check_adapters(config.model, found.report.lora if found.report else None, str(folder))
    with init_empty_weights(include_buffers=False):
        parts = {
            IMAGE_ENCODER: TinyGPTVImageEncoder(sizes),
            LANGUAGE_MODEL: of_profile(config.model.text).model(sizes.text_config),
        }
    trained = {name: t for name, t in found.tensors.items() if name.startswith("projector.") or ".lora_" in name}
    left = found.tensors.keys() - trained.keys()
    for file, module in parts.items():
        prefix = f"{file.partition('.')[0]}."
        own = {name.removeprefix(prefix): found.tensors[name] for name in left if name.startswith(prefix)}
        left = {name for name in left if not name.startswith(prefix)}
        write(out / file, module, Converted(own, {}, []), config.runtime.dtype, str(folder))
    if left:
        raise CheckpointError(f"{folder} holds tensors that are no part of the model: {some(sorted(left))}")
    tokenizer.save_pretrained(out)
    held = {"projection": _numbers(trained, "projector."), "lora": _numbers(trained, "language_model.")}
    (out / INIT_FOLDER).mkdir()
    checkpoint = {
        **manifest,
        "stage": INIT_FOLDER,
        "parent": None,
        "backbones": backbone_digests(out),
        "trainable": {},
        "held": {group: count for group, count in held.items() if count},
    }
    write_checkpoint(out / INIT_FOLDER, {name: tensor.float() for name, tensor in trained.items()}, checkpoint)


def _numbers(tensors: Mapping[str, torch.Tensor], prefix: str) -> int:
    return sum(tensor.numel() for name, tensor in tensors.items() if name.startswith(prefix))


def check_sizes(model: Model, found: Mapping[str, Any], free: Iterable[str], origin: str) -> None:
    """The profile's model must be the one that the weights are of.

    Args:
        model: the section of the profile.
        found: the section with which the weights were made.
        free: keys that may differ beside ``FREE``.
        origin: where the weights are, for the message.

    Raises:
        CheckpointError: names the keys that differ.
    """
    free = (*FREE, *free)
    refuse(
        origin,
        [
            f"model.{key} ({_side(theirs)}, here {_side(ours)})"
            for key, ours, theirs in differing_keys(_told(model.model_dump(mode="json")), _told(found))
            if not any(f"{key}.".startswith(f"{name}.") for name in free)
        ],
    )


def _told(sizes: Mapping[str, Any]) -> dict[str, Any]:
    """The section with the keys that older ones leave out."""
    younger: dict[str, dict[str, Any]] = {"text": dict(YOUNGER), "lora": {"mlp": False}}
    return {key: {**younger[key], **value} if key in younger else value for key, value in sizes.items()}


def check_configuration(model: Model, ours: Mapping[str, Any], theirs: Mapping[str, Any], origin: str) -> None:
    """The same by a model's ``config.json``, which calls the sizes as the profile does.

    Raises:
        CheckpointError: names the keys that differ.
    """
    from tinygptv.model.configuration import TOWERS
    from tinygptv.model.language import ARCHITECTURES

    pairs = [
        (section, key, ours.get(f"{section}_config", {}).get(key), theirs.get(f"{section}_config", {}).get(key))
        for section in ("vision", "qformer", "text")
        for key in type(getattr(model, section)).model_fields
    ]
    kinds = {kind.model_type: name for name, kind in TOWERS.items()}
    kinds |= {kind.model_type: kind.name for kind in ARCHITECTURES.values()}
    for section, key in (("vision", "tower"), ("text", "architecture")):
        here, there = (side.get(f"{section}_config", {}).get("model_type") for side in (ours, theirs))
        pairs.append((section, key, kinds.get(str(here), here), kinds.get(str(there), there)))
    pairs.append(("qformer", "num_query_tokens", ours.get("num_query_tokens"), theirs.get("num_query_tokens")))
    differing = [
        f"model.{section}.{key} ({there}, here {here})"
        for section, key, here, there in pairs
        if here is not None and here != there and f"{section}.{key}" not in FREE
    ]
    if ours["projection_size"] != theirs.get("projection_size"):
        differing.append(f"model.projection_size ({theirs.get('projection_size')}, here {ours['projection_size']})")
    refuse(origin, differing)


def check_adapters(model: Model, lora: Mapping[str, float] | None, origin: str) -> None:
    """Adapters go on in their own rank and scale.

    Raises:
        CheckpointError: names the keys that differ.
    """
    wanted = {"rank": model.lora.rank, "alpha": model.lora.alpha}
    found = lora or wanted
    refuse(
        origin,
        [f"model.lora.{key} ({found[key]:g}, here {wanted[key]})" for key in wanted if found[key] != wanted[key]],
    )


def refuse(origin: str, differing: list[str]) -> None:
    """Say which sizes differ, if any do."""
    if differing:
        raise CheckpointError(f"{origin} has other sizes than the profile: {some(differing)}; give `model` its sizes")


def _side(value: Any) -> Any:
    return "none" if value is NOTHING else value

"""An imported model as the pipeline's own files: backbones, and a stage's checkpoint for the next to go on from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinygptv.ground import runtime
from tinygptv.ground.errors import CheckpointError
from tinygptv.ground.file_names import HISTORY, IMAGE_ENCODER, LANGUAGE_MODEL
from tinygptv.ground.files import write_json
from tinygptv.ground.names import STAGES
from tinygptv.model.adapters import freeze, held_groups
from tinygptv.model.authors.building import lora_of, own_state
from tinygptv.model.authors.folder import open_import, refuse_existing, whole_or_absent
from tinygptv.model.backbones import check_fit, formats_of
from tinygptv.model.stage_checkpoint import save_stage
from tinygptv.model.streaming import write_tensors
from tinygptv.model.weights import backbone_digests, describe_backbones

if TYPE_CHECKING:
    from tinygptv.config import Config, Lora
    from tinygptv.config.profiles import Profile
    from tinygptv.model.modeling import TinyGPTVForConditionalGeneration

BACKBONES = "backbones"


def export_stage(source: Path, data: Path, stage: str, profile: Profile) -> None:
    """Write ``<data>/backbones`` and ``<data>/<stage>``, as if the profile's own steps had made them.

    Args:
        source: an imported model's folder.
        data: the profile's folder of data.
        stage: the stage that the model has behind it.
        profile: must have the model's sizes and adapters.

    Raises:
        CheckpointError: the model is not that of the profile, or one of the folders exists.
    """
    import torch

    config = profile.config
    runtime.quiet_libraries()
    for folder in (data / BACKBONES, data / stage):
        refuse_existing(folder)
    model, processor = open_import(source)
    check_profile(model, config, stage, str(source))
    dtype = getattr(torch, config.runtime.dtype)
    state, empty = {n: t for n, t in own_state(model).items() if ".lora_" not in n}, laid_out(config)
    with whole_or_absent(data / BACKBONES) as folder:
        for name, file in (("image_encoder", IMAGE_ENCODER), ("language_model", LANGUAGE_MODEL)):
            part = {n.removeprefix(f"{name}."): t for n, t in state.items() if n.startswith(f"{name}.")}
            write_tensors(folder / file, part, formats_of(getattr(empty, name), dtype))
        processor.tokenizer.save_pretrained(folder)
        describe_backbones(folder, config.model.model_dump(mode="json"), {})
    manifest: dict[str, Any] = {
        "stage": stage,
        "parent": None,
        "backbones": backbone_digests(data / BACKBONES),
        "features": "",
        "trainable": freeze(model, config.stage(stage).trainable).trainable,
        "seed": profile.seed,
        "config": {key: getattr(config, key).model_dump(mode="json") for key in ("runtime", "model", stage)},
        "environment": runtime.environment(),
        "changes": [],
    }
    with whole_or_absent(data / stage) as folder:
        save_stage(model, folder, manifest, trained_by(config, stage))
        write_json(folder / HISTORY, [])


def check_profile(model: TinyGPTVForConditionalGeneration, config: Config, stage: str, origin: str) -> None:
    """The model must be the one that the profile would train.

    Raises:
        CheckpointError: sizes or adapters differ.
    """
    expected = laid_out(config).state_dict()
    tensors = {name: tensor for name, tensor in own_state(model).items() if ".lora_" not in name}
    check_fit(expected, tensors, origin, "give the profile's section `model` its sizes")
    found = lora_of(model)
    wanted = config.model.lora if "lora" in trained_by(config, stage) else None
    if described(found) != described(wanted):
        raise CheckpointError(
            f"{origin} has {described(found)}, {stage} of the profile trains {described(wanted)}; "
            f"change model.lora or {stage}.trainable"
        )


def trained_by(config: Config, stage: str) -> tuple[str, ...]:
    """The groups that a model has learned when a stage of the profile is behind it."""
    return held_groups(*(config.stage(name).trainable for name in STAGES[: STAGES.index(stage) + 1]))


def laid_out(config: Config) -> TinyGPTVForConditionalGeneration:
    """The profile's model without memory and without adapters."""
    import torch

    from tinygptv.model.modeling import TinyGPTVForConditionalGeneration
    from tinygptv.model.profile import from_profile

    with torch.device("meta"):
        return TinyGPTVForConditionalGeneration(from_profile(config.model, end_of_text_id=0))


def described(lora: Lora | None) -> str:
    """Adapters in words."""
    return "no adapters" if lora is None else f"adapters of rank {lora.rank} and alpha {lora.alpha:g}"

"""A model as the authors' files name it, and as a standard Hugging Face folder.

The authors' form is four safetensors files, split as their ``.pth`` files are:
  phi          the language model without adapters     vision   EVA-CLIP's tower
  qformer      Q-Former, queries, ln_vision            checkpoint   what they train: adapters, norms, projections

Source: the authors' ``runner_base.py`` (_save_checkpoint), PEFT 0.2 (names of adapters).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from tinygptv.ground.errors import CheckpointError
from tinygptv.model.adapters import GROUPS, has_lora, merge_lora
from tinygptv.model.authors import names
from tinygptv.model.authors.building import Origin, build, get_origin, lora_of, own_state
from tinygptv.model.authors.trained import in_groups
from tinygptv.model.folders import longest_answer, write_folder
from tinygptv.model.language import AUTHORS
from tinygptv.model.weights import save_weights

if TYPE_CHECKING:
    from tinygptv.model.modeling import TinyGPTVForConditionalGeneration
    from tinygptv.model.processing import TinyGPTVProcessor

FILES = ("phi", "vision", "qformer", "checkpoint")
IN_CHECKPOINT = tuple(group for group in GROUPS if group != "norm_biases")
"""What every checkpoint of the authors holds, adapters where there are any."""
TEXT_POSITIONS = 512
"""Length of the buffer that counts positions in the authors' Q-Former, which is BERT's."""
MAX_NEW_TOKENS = 300
"""Longest answer of an exported folder whose source names none. Source: ``conversation.py``, Chat.answer."""


def place_of(ours: str) -> tuple[str, str]:
    """File and the authors' name of a base tensor."""
    part, _, name = ours.partition(".")
    if part == "language_model":
        return "phi", name  # the same names
    for file, rules in (("qformer", names.QFORMER), ("vision", names.EVA)):
        if (theirs := names.translate(name, names.reverse(rules))) is not None:
            return file, theirs
    raise CheckpointError(f"{ours} has no place in the authors' files; only their architecture can be exported so")


def export_authors(model: TinyGPTVForConditionalGeneration, folder: Path) -> None:
    """Write the authors' form: what ``import_authors`` read comes out bit for bit, with values trained since.

    Args:
        model: with its adapters in place, or merged, or never imported.
        folder: where ``phi.safetensors``, ``vision…``, ``qformer…`` and ``checkpoint…`` go.

    Raises:
        CheckpointError: the model is in 8 bits, or has parts that the authors' does not have.
    """
    config = model.config.text_config
    if config.model_type != AUTHORS.model_type:
        raise CheckpointError("the language model is not the authors'; only their architecture can be exported so")
    if not (config.qk_layernorm and config.rms_norm):
        raise CheckpointError("the model lacks norms that the authors' always has; it cannot be exported so")
    folder.mkdir(parents=True, exist_ok=True)
    files = authors_files(own_state(model), get_origin(model))
    for file in FILES:
        save_weights(folder / f"{file}.safetensors", files[file])


def authors_files(state: Mapping[str, torch.Tensor], origin: Origin | None) -> dict[str, dict[str, torch.Tensor]]:
    """Tensors of the four files by the authors' names.

    Args:
        state: the model's tensors by our names.
        origin: of an imported model: what its files held and it does not.
    """
    files: dict[str, dict[str, torch.Tensor]] = {file: {} for file in FILES}
    lora = any(".lora_A." in name for name in state)
    trained = origin.report.trained if origin else set()
    of_base = origin.report.of_base if origin else set(state)
    kept = origin.kept if origin else position_ids()
    for name, tensor in state.items():
        if not tensor.is_floating_point():
            raise CheckpointError(f"{name} is in 8 bits; export the model that was quantized")
        in_checkpoint = name in trained or in_groups(name, IN_CHECKPOINT)
        if name.endswith("self_attn.qkv.bias"):
            files["vision"] |= split_bias(name, tensor)
        elif not (name.startswith("projector.") or ".lora_" in name):
            file, theirs = place_of(name)
            base = kept.get(f"{file}/{theirs}", tensor)
            if name in of_base:
                files[file][theirs] = base
                in_checkpoint |= not torch.equal(base.to(tensor.dtype), tensor)
            else:  # an added norm that the base file lacks
                start = AUTHORS.starts([theirs])[theirs]
                in_checkpoint |= not bool((tensor == start).all())
        if in_checkpoint:
            files["checkpoint"][names.checkpoint_name(name, lora=lora)] = tensor
    for place, tensor in kept.items():
        file, _, theirs = place.partition("/")
        files[file].setdefault(theirs, tensor)
    return files


def split_bias(ours: str, bias: torch.Tensor) -> dict[str, torch.Tensor]:
    """One bias [(3 D)] as EVA-CLIP's two [D]; keys have none there.

    Raises:
        CheckpointError: the keys' part is not zero.
    """
    query, key, value = bias.chunk(3)
    if bool(key.any()):
        raise CheckpointError(f"{ours} has a bias for keys, for which the authors' tower has no place")
    return {place_of(f"{ours}#{part}")[1]: tensor for part, tensor in (("q", query), ("v", value))}


def position_ids() -> dict[str, torch.Tensor]:
    """The buffer as the authors' files hold it, for a model that was not imported."""
    counted = torch.arange(TEXT_POSITIONS).unsqueeze(0)
    return {f"{file}/{names.POSITION_IDS}": counted for file in ("qformer", "checkpoint")}


def export_folder(
    model: TinyGPTVForConditionalGeneration,
    processor: TinyGPTVProcessor,
    folder: Path,
    max_new_tokens: int = MAX_NEW_TOKENS,
) -> None:
    """Write a standard Hugging Face folder; adapters are merged in it, and stay apart in the model given.

    Raises:
        CheckpointError: the model has too few positions to be asked.
    """
    limit = longest_answer(processor, model.config.text_config.max_position_embeddings, max_new_tokens)
    write_folder(merged(model), processor, folder, max_new_tokens=limit)


def merged(model: TinyGPTVForConditionalGeneration) -> TinyGPTVForConditionalGeneration:
    """A model with the adapters merged into matrices of its own, and all other tensors shared with the one given."""
    from copy import deepcopy

    twin = build("the model", deepcopy(model.config), own_state(model), lora_of(model))
    if has_lora(twin):
        merge_lora(twin)
    return twin

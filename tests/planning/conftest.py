"""A small model in every form that a profile can ask for, and a count of what torch keeps for its backward pass."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from tinygptv.config import Config
from tinygptv.data.batches import Batch
from tinygptv.data.prompts import IGNORE_INDEX
from tinygptv.model import TinyGPTVForConditionalGeneration, adapters, assembly, int8
from tinygptv.model.configuration import from_profile
from tinygptv.training import loop


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Tensors this small are faster on one thread, and do not wait for the machine's other work."""
    torch.set_num_threads(1)


def changed(config: Config, stage: str = "stage3", **changes: Any) -> Config:
    """A profile with other values; keys are ``text.``, ``lora.``, ``runtime.`` or a key of the stage."""
    by_section: dict[str, dict[str, Any]] = {}
    for key, value in changes.items():
        section, _, name = key.rpartition("__")
        by_section.setdefault(section or "stage", {})[name] = value
    model = config.model
    model = model.model_copy(
        update={
            name: getattr(model, name).model_copy(update=by_section[name])
            for name in ("text", "lora", "vision", "qformer")
            if name in by_section
        }
    )
    return config.model_copy(
        update={
            "model": model,
            "runtime": config.runtime.model_copy(update=by_section.get("runtime", {})),
            stage: config.stage(stage).model_copy(update=by_section.get("stage", {})),
        }
    )


def training_model(config: Config, stage_name: str) -> TinyGPTVForConditionalGeneration:
    """The model as ``steps/train.py`` prepares it, with random weights."""
    stage = config.stage(stage_name)
    model = TinyGPTVForConditionalGeneration(from_profile(config.model, end_of_text_id=0))
    formats = assembly.formats_of(model.language_model, getattr(torch, config.runtime.dtype))
    for name, parameter in model.language_model.named_parameters():
        parameter.data = parameter.data.to(formats[name])
    if "lora" in stage.trainable:
        adapters.add_lora(model, config.model.lora)
    adapters.freeze(model, stage.trainable)
    if stage.base_8bit:
        int8.quantize_base(model.language_model, outlier_threshold=0.0)
    if stage.gradient_checkpointing:
        model.language_model.gradient_checkpointing_enable({"use_reentrant": False})
    return model.train()


def longest_batch(config: Config, stage_name: str) -> Batch:
    """A micro-batch of the longest sequences; the last token of one is padding, as it is where lengths differ."""
    stage, text, queries = config.stage(stage_name), config.model.text, config.model.qformer.num_query_tokens
    samples, tokens = stage.micro_batch_size, stage.max_sequence_tokens
    input_ids = torch.randint(text.vocab_size, (samples, tokens))
    labels = input_ids.clone()
    input_ids[:, :queries] = text.vocab_size
    labels[:, :queries] = IGNORE_INDEX
    mask = torch.ones_like(input_ids)
    if samples > 1:
        mask[0, -1] = 0
    features = torch.randn(samples, queries, config.model.qformer.hidden_size)
    return Batch(("",) * samples, input_ids, mask, labels, features)


@dataclass
class Kept:
    """Unique storages, in bytes, that a forward pass leaves for the backward pass."""

    saved: int
    """Tensors that autograd saved, without parameters and buffers."""
    held: int
    """Inputs that bitsandbytes holds past autograd, where autograd has not saved them as well."""


def kept(model: TinyGPTVForConditionalGeneration, batch: Batch, *, label_only: bool) -> Kept:
    """Count what the loss of a micro-batch keeps."""
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    storages: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            storages[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = loop.batch_loss(model, batch, torch.device("cpu"), label_only=label_only)
    held = {
        node.A.untyped_storage().data_ptr(): node.A.untyped_storage().nbytes()
        for node in graph(loss.grad_fn)
        if type(node).__name__ == "MatMul8bitFpBackward"
    }
    return Kept(
        sum(storage.nbytes() for storage in storages.values()),
        sum(size for pointer, size in held.items() if pointer not in storages),
    )


def graph(root: Any) -> Iterator[Any]:
    """Every node of autograd's graph."""
    seen, waiting = set(), [root]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            waiting += [following for following, _ in node.next_functions]
            yield node

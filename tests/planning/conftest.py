"""A small model in every form that a profile can ask for, and a count of what torch keeps for its backward pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from tinygptv.config import Config
from tinygptv.config.profiles import read_config
from tinygptv.data.batches import Batch
from tinygptv.data.prompts import IGNORE_INDEX
from tinygptv.ground.names import STAGES
from tinygptv.model import TinyGPTVForConditionalGeneration
from tinygptv.model.backbones import formats_of
from tinygptv.model.profile import from_profile
from tinygptv.planning.dry_run import batch_tensors, largest
from tinygptv.planning.live import LiveBytes
from tinygptv.planning.plan import changed
from tinygptv.training import loop
from tinygptv.training.loss import placed_loss
from tinygptv.training.preparation import prepare

STAGE = "stage3"
SMALL = {
    "text__num_hidden_layers": 2,
    "text__hidden_size": 64,
    "text__intermediate_size": 256,
    "text__num_attention_heads": 4,
    "text__vocab_size": 512,
    "batch_size": 3,
    "micro_batch_size": 3,
    "max_sequence_tokens": 48,
}
"""Wide and long enough that no term of the plan is lost in rounding."""


@pytest.fixture(scope="session")
def paper() -> Config:
    """The profile of the paper."""
    return read_config(Path(__file__).parents[2] / "configs" / "paper.yaml")


@pytest.fixture(scope="session")
def plain(paper: Config) -> Config:
    """Without compiled blocks, whose dry run takes seconds."""
    return changed(paper, {f"{name}.compile": False for name in STAGES})


@dataclass
class Training:
    """Stage 3 of a small profile, ready to train."""

    config: Config

    def __post_init__(self) -> None:
        stage = self.config.stage(STAGE)
        self.stage = stage
        self.model = TinyGPTVForConditionalGeneration(from_profile(self.config.model, end_of_text_id=0))
        self._as_steps_prepare_it()
        self.batch = longest_batch(self.config)

    def _as_steps_prepare_it(self) -> None:
        """With random weights."""
        language_model, dtype = self.model.language_model, getattr(torch, self.config.runtime.dtype)
        formats = formats_of(language_model, dtype)
        for name, parameter in language_model.named_parameters():
            parameter.data = parameter.data.to(formats[name])
        prepare(self.model, self.config, STAGE)
        self.model.train()

    def loss(self) -> torch.Tensor:
        """The loss of a micro-batch of the longest sequences."""
        label_only = self.stage.label_only_logits
        return loop.batch_loss(self.model, self.batch, torch.device("cpu"), label_only=label_only)

    def kept(self) -> tuple[int, int]:
        """Bytes that are there when the loss of the largest micro-batch is, the model's own aside.

        By the tensors that operations make and nobody frees; and by those that autograd saves, and the batch.
        """
        placed, live = largest(self.config, self.stage), LiveBytes("cpu")
        own = [*self.model.parameters(), *self.model.buffers()]
        aside = {tensor.untyped_storage().data_ptr() for tensor in own}
        storages: dict[int, int] = {}

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in aside:
                storages[storage.data_ptr()] = storage.nbytes()
            return tensor

        with live:
            live.count(own)
            before = live.now
            live.count(batch_tensors(placed))
            list(map(pack, batch_tensors(placed)))
            with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
                loss = placed_loss(self.model, placed, label_only=self.stage.label_only_logits)
            pack(loss.detach())
            return live.now - before, sum(storages.values())


@pytest.fixture(scope="session")
def small(smoke: Config) -> Callable[..., Config]:
    """``small(text__qk_norm=False, lora__dropout=0.0, runtime__dtype="bfloat16", micro_batch_size=1)``."""

    def vary(**changes: Any) -> Config:
        sections: dict[str, dict[str, Any]] = {}
        for key, value in {**SMALL, **changes}.items():
            section, _, name = key.rpartition("__")
            sections.setdefault(section or STAGE, {})[name] = value
        model = smoke.model.model_copy(
            update={
                name: getattr(smoke.model, name).model_copy(update=sections.get(name, {})) for name in ("text", "lora")
            }
        )
        runtime = smoke.runtime.model_copy(update=sections.get("runtime", {}))
        stage = smoke.stage(STAGE).model_copy(update=sections[STAGE])
        return smoke.model_copy(update={"model": model, "runtime": runtime, STAGE: stage})

    return vary


@pytest.fixture(scope="session")
def training(small: Callable[..., Config]) -> Callable[..., Training]:
    """``training(...)``: a model of ``small(...)``."""
    return lambda **changes: Training(small(**changes))


def longest_batch(config: Config) -> Batch:
    """A micro-batch of the longest sequences; the last token of one is padding, as it is where lengths differ."""
    stage, text, queries = config.stage(STAGE), config.model.text, config.model.qformer.num_query_tokens
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

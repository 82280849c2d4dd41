"""A small stage of training: model, batches and state made anew each time."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from tinygptv.config import Config, Stage
from tinygptv.data.batches import Batch
from tinygptv.data.prompts import IGNORE_INDEX
from tinygptv.model.adapters import add_lora, freeze, trainable_parameters
from tinygptv.model.modeling import TinyGPTVForConditionalGeneration
from tinygptv.training.loop import TrainingState, new_state


def without_dropout(state: TrainingState) -> TrainingState:
    for part in state.model.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
    return state


@pytest.fixture(scope="session")
def stage(smoke: Config) -> Stage:
    """Ten steps of eight samples."""
    changes = {"steps_per_epoch": 5, "epochs": 2, "batch_size": 8, "micro_batch_size": 4, "log_every": 3}
    return smoke.stage4.model_copy(update=changes)


@pytest.fixture
def new_training(
    make_model: Callable[..., TinyGPTVForConditionalGeneration], smoke: Config, stage: Stage
) -> Callable[..., TrainingState]:
    """``new_training(seed)``: what a fresh process has before the first step, with dropout on."""

    def make(seed: int = 0) -> TrainingState:
        model = make_model(seed)
        add_lora(model, smoke.model.lora)
        freeze(model, stage.trainable)
        torch.manual_seed(seed)
        return new_state(model, trainable_parameters(model), stage, (7, "stage4"))

    return make


@pytest.fixture(scope="session")
def make_batch(tokenizer: PreTrainedTokenizerFast, smoke: Config) -> Callable[..., Batch]:
    """``make_batch(step, rows)``: eight samples, or some of them, of unequal length; a function of the step alone."""

    def make(step: int, rows: slice = slice(None)) -> Batch:
        slots, image_id = smoke.model.qformer.num_query_tokens, smoke.model.text.vocab_size
        source = torch.Generator().manual_seed(step)
        ids, labels = [], []
        for _ in range(8):
            answer = torch.randint(1, 500, (int(torch.randint(1, 6, (1,), generator=source)),), generator=source)
            prompt = [0, *[image_id] * slots, *torch.randint(1, 500, (3,), generator=source).tolist()]
            ids.append(prompt + answer.tolist())
            labels.append([IGNORE_INDEX] * len(prompt) + answer.tolist())
        features_BQD = torch.randn(8, slots, smoke.model.qformer.hidden_size, generator=source)
        ids, labels = ids[rows], labels[rows]
        longest = max(map(len, ids))
        return Batch(
            record_ids=tuple(f"record-{step}-{i}" for i in range(8))[rows],
            input_ids=torch.tensor([row + [0] * (longest - len(row)) for row in ids]),
            attention_mask=torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in ids]),
            labels=torch.tensor([row + [IGNORE_INDEX] * (longest - len(row)) for row in labels]),
            image_features=features_BQD[rows],
        )

    return make

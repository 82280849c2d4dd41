"""The step beside the plain path: transformers' own operations, a padding mask, logits at every position."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

from tests.training.plain import plain, plain_loss
from tests.training.test_compiled import masked, one_answer_token, text_alone
from tinygptv.config import Config
from tinygptv.data.batches import Batch
from tinygptv.ground.names import STAGES
from tinygptv.model import TinyGPTVForConditionalGeneration
from tinygptv.model.adapters import add_lora, freeze, trainable_parameters
from tinygptv.training.loss import batch_loss

MakeModel = Callable[..., TinyGPTVForConditionalGeneration]
MakeBatch = Callable[..., Batch]
CPU = torch.device("cpu")
WAYS = [{"label_only": label_only, "packing": packing} for label_only in (False, True) for packing in (False, True)]
FORMS = ("as it is", "a mask", "texts alone", "one token", "one sample")
CLOSE = {torch.float32: 2e-6, torch.bfloat16: 2e-2}
"""Of the norm of a gradient; the second is what bfloat16 itself leaves."""


def prepared(make_model: MakeModel, smoke: Config, stage: str, dtype: torch.dtype) -> TinyGPTVForConditionalGeneration:
    """A model as a stage trains it, with adapters that say something, and without dropout."""
    model, groups = make_model(0), smoke.stage(stage).trainable
    for part in model.language_model.modules():
        if isinstance(part, nn.Linear | nn.Embedding):
            part.to(dtype)
    if "lora" in groups:
        add_lora(model, smoke.model.lora)
    freeze(model, groups)
    torch.manual_seed(2)
    for name, parameter in model.named_parameters():
        if ".lora_B." in name:
            nn.init.normal_(parameter, std=0.02)
    for part in model.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
    return model.train()


def form_of(batch: Batch, form: str, image_token_id: int) -> Batch:
    return {
        "as it is": lambda: batch,
        "a mask": lambda: masked(batch),
        "texts alone": lambda: text_alone(batch, image_token_id),
        "one token": lambda: one_answer_token(batch),
        "one sample": lambda: replace(
            batch,
            record_ids=batch.record_ids[:1],
            image_features=batch.image_features[:1],
            **{name: getattr(batch, name)[:1] for name in ("input_ids", "attention_mask", "labels")},
        ),
    }[form]()


@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize("stage", STAGES)
def test_losses_and_all_gradients_are_those_of_the_plain_path(
    make_model: MakeModel,
    make_batch: MakeBatch,
    smoke: Config,
    stage: str,
    dtype: torch.dtype,
) -> None:
    model = prepared(make_model, smoke, stage, dtype)
    twin = plain(model)
    for number, form in enumerate(FORMS):
        batch = form_of(make_batch(number), form, model.config.image_token_id)
        found: list[tuple[torch.Tensor, dict[str, torch.Tensor]]] = []
        for trained, loss in (
            (twin, plain_loss(twin, batch)),
            *((model, batch_loss(model, batch, CPU, **way)) for way in WAYS),
        ):
            parameters = trainable_parameters(trained)
            trained.zero_grad(set_to_none=True)
            loss.backward()
            gradients = {name: p.grad for name, p in parameters.items() if p.grad is not None}
            assert gradients.keys() == parameters.keys()
            found.append((loss.detach(), gradients))
        (expected_loss, expected), *others = found
        for computed_loss, computed in others:
            assert (computed_loss - expected_loss).abs() <= CLOSE[dtype] / 2 * expected_loss, form
            for name, gradient in expected.items():
                assert (computed[name] - gradient).norm() <= CLOSE[dtype] * gradient.norm(), (form, name)

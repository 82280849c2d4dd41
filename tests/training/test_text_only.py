"""Samples without an image train beside those with one, and alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch

from tinygptv.config import Config, Stage
from tinygptv.data.batches import Batch
from tinygptv.data.prompts import IGNORE_INDEX
from tinygptv.model.adapters import freeze, trainable_parameters
from tinygptv.model.modeling import TinyGPTVForConditionalGeneration
from tinygptv.training.loop import new_state
from tinygptv.training.loss import batch_loss
from tinygptv.training.optimizer import set_learning_rate
from tinygptv.training.step import optimizer_step

CPU = torch.device("cpu")
Sample = tuple[list[int], list[int], bool]


@pytest.fixture
def samples(smoke: Config) -> list[Sample]:
    """Token ids, labels and whether there is an image; with images and without in turn, of unequal length."""
    slots, image_id = smoke.model.qformer.num_query_tokens, smoke.model.text.vocab_size
    made = []
    for i in range(6):
        prompt = [1, *([image_id] * slots if i % 2 else []), *range(10, 13 + i)]
        answer = list(range(40 + i, 42 + 2 * i))
        made.append((prompt + answer, [IGNORE_INDEX] * len(prompt) + answer, bool(i % 2)))
    return made


@pytest.fixture
def collate(smoke: Config) -> Callable[[Sequence[Sample]], Batch]:
    """A batch of samples; an image's features are a function of its tokens."""
    shape = smoke.model.qformer.num_query_tokens, smoke.model.qformer.hidden_size

    def make(samples: Sequence[Sample]) -> Batch:
        longest = max(len(ids) for ids, _, _ in samples)
        features = [
            torch.randn(shape, generator=torch.Generator().manual_seed(sum(ids))) for ids, _, seen in samples if seen
        ]
        return Batch(
            record_ids=tuple("abcdef"[: len(samples)]),
            input_ids=torch.tensor([ids + [0] * (longest - len(ids)) for ids, _, _ in samples]),
            attention_mask=torch.tensor([[1] * len(ids) + [0] * (longest - len(ids)) for ids, _, _ in samples]),
            labels=torch.tensor([row + [IGNORE_INDEX] * (longest - len(row)) for _, row, _ in samples]),
            image_features=torch.stack(features) if features else torch.empty(0, *shape),
        )

    return make


def gradients(model: TinyGPTVForConditionalGeneration) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in trainable_parameters(model).items() if p.grad is not None}


@pytest.mark.parametrize("label_only", [False, True])
def test_a_mixed_batch_has_the_losses_and_gradients_of_its_samples(
    make_model: Callable[..., TinyGPTVForConditionalGeneration],
    stage: Stage,
    samples: list[Sample],
    collate: Callable[[Sequence[Sample]], Batch],
    label_only: bool,
) -> None:
    model = make_model(1)
    freeze(model, [part for part in stage.trainable if part != "lora"])
    parts = [batch_loss(model, collate([sample]), CPU, label_only=label_only) for sample in samples]
    torch.stack(parts).sum().backward()
    single = gradients(model)
    model.zero_grad(set_to_none=True)
    whole = batch_loss(model, collate(samples), CPU, label_only=label_only)
    whole.backward()
    torch.testing.assert_close(whole, torch.stack(parts).sum())
    assert single.keys() == gradients(model).keys() == trainable_parameters(model).keys()
    torch.testing.assert_close(gradients(model), single, rtol=1e-4, atol=1e-5)
    order = [5, 0, 3, 2, 1, 4]
    again = batch_loss(model, collate([samples[i] for i in order]), CPU, label_only=label_only)
    torch.testing.assert_close(again, whole, msg="features go to the samples that have an image, in their order")


@pytest.mark.parametrize("label_only", [False, True])
def test_a_batch_of_texts_alone_trains_whatever_the_stage_trains(
    make_model: Callable[..., TinyGPTVForConditionalGeneration],
    stage: Stage,
    samples: list[Sample],
    collate: Callable[[Sequence[Sample]], Batch],
    label_only: bool,
) -> None:
    """Of the projection the gradient is nothing, not missing: a stage that trains it alone makes a step, too."""
    texts = collate([sample for sample in samples if not sample[2]])
    for trainable in (["projection"], [part for part in stage.trainable if part != "lora"]):
        model = make_model(1)
        freeze(model, trainable)
        before = {name: p.detach().clone() for name, p in trainable_parameters(model).items()}
        state = new_state(
            model, trainable_parameters(model), stage.model_copy(update={"weight_decay": 0.0}), (7, "stage4")
        )
        set_learning_rate(state.optimizer, 1e-2)
        changed = stage.model_copy(update={"label_only_logits": label_only})
        loss, norm, _ = optimizer_step(state, [texts], changed)
        expected = batch_loss(make_model(1), texts, CPU, label_only=label_only) / texts.target_tokens
        assert loss == pytest.approx(expected.item())
        moved = {name for name, p in trainable_parameters(model).items() if not torch.equal(p, before[name])}
        assert not any(name.startswith("projector") for name in moved)
        assert (norm > 0) == bool(moved) == (trainable != ["projection"])

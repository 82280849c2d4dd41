"""What makes a stage need less memory gives the loss and the gradients of the plain way, as far as it must."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from tinygptv.config import Stage
from tinygptv.data.batches import Batch
from tinygptv.model.adapters import trainable_parameters, trainable_state
from tinygptv.model.frozen8bit import FrozenLinear8bit
from tinygptv.model.int8 import quantize_base
from tinygptv.model.modeling import TinyGPTVForConditionalGeneration
from tinygptv.training.loop import TrainingState, new_state, train
from tinygptv.training.loss import batch_loss
from tinygptv.training.step import optimizer_step

NewTraining = Callable[..., TrainingState]
MakeBatch = Callable[..., Batch]
CPU = torch.device("cpu")


def loss_and_gradients(
    state: TrainingState, batch: Batch, *, label_only: bool = False, packing: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss of the batch, and all gradients in one vector."""
    torch.manual_seed(11)  # dropout
    state.model.zero_grad(set_to_none=True)
    loss = batch_loss(state.model, batch, CPU, label_only=label_only, packing=packing)
    loss.backward()
    return loss.detach(), torch.cat([p.grad.flatten() for p in state.parameters.values() if p.grad is not None])


@pytest.fixture
def training(new_training: NewTraining) -> Callable[[], TrainingState]:
    """Training in which the adapters do something: their B starts at zero."""

    def make() -> TrainingState:
        state = new_training()
        source = torch.Generator().manual_seed(5)
        for name, parameter in state.parameters.items():
            if ".lora_B." in name:
                parameter.data.normal_(std=0.1, generator=source)
        return state

    return make


def test_label_only_logits_are_those_of_the_whole_head(
    training: Callable[[], TrainingState], make_batch: MakeBatch
) -> None:
    computed: list[int] = []
    states = training(), training()
    for state in states:
        state.model.language_model.lm_head.register_forward_hook(
            lambda _, __, output: computed.append(output.numel() // output.shape[-1])
        )
    batch = make_batch(0)
    whole = loss_and_gradients(states[0], batch)
    assert_close(loss_and_gradients(states[1], batch, label_only=True), whole)
    assert computed == [batch.input_ids.numel(), batch.target_tokens]


def test_checkpointing_computes_the_same_again(training: Callable[[], TrainingState], make_batch: MakeBatch) -> None:
    plain, checkpointed = training(), training()
    checkpointed.model.language_model.activation_checkpointing_enable({"use_reentrant": False})
    for state in (plain, checkpointed):
        state.model.train()  # with dropout: the second forward pass must draw the same masks
    forward: list[int] = []
    checkpointed.model.language_model.model.layers[0].mlp.register_forward_hook(lambda *_: forward.append(1))
    batch = make_batch(0)
    for label_only in (False, True):
        for packing in (False, True):
            way = {"label_only": label_only, "packing": packing}
            expected = loss_and_gradients(plain, batch, **way)
            assert_close(loss_and_gradients(checkpointed, batch, **way), expected, rtol=0, atol=0)
    assert len(forward) == 8


def relative_error(actual: torch.Tensor, expected: torch.Tensor) -> float:
    return float((actual - expected).norm() / expected.norm())


def eight_bit(state: TrainingState, threshold: float = 0.0) -> TinyGPTVForConditionalGeneration:
    quantize_base(state.model.language_model, outlier_threshold=threshold)
    state.model.language_model.to(CPU)
    return state.model


def test_an_8_bit_base_has_eight_bits_and_trains_the_same_tensors(training: Callable[[], TrainingState]) -> None:
    state = training()
    before = {name: value.clone() for name, value in trainable_state(state.model).items()}
    model = eight_bit(state, threshold=6.0)
    plain = {n for n, m in model.language_model.named_modules() if isinstance(m, nn.Linear) and ".lora_" not in n}
    assert plain == {"lm_head"}
    assert {layer.weight.dtype for layer in small_layers(model)} == {torch.int8}
    assert {layer.threshold for layer in small_layers(model)} == {6.0}
    assert_close(trainable_state(model), before, rtol=0, atol=0)


def small_layers(model: TinyGPTVForConditionalGeneration) -> list[FrozenLinear8bit]:
    return [module for module in model.modules() if isinstance(module, FrozenLinear8bit)]


@pytest.mark.parametrize("first", ["move", "quantize", "quantize and use", "quantize there"])
def test_an_8_bit_base_is_whole_on_its_device_in_whatever_order(
    training: Callable[[], TrainingState], make_batch: MakeBatch, first: str
) -> None:
    """``meta`` stands for a GPU."""
    model, there = training().model, torch.device("meta")
    if first == "move":
        model.language_model.to(there)
    quantize_base(model.language_model, outlier_threshold=6.0, device=there if first == "quantize there" else None)
    layers = small_layers(model)
    if first == "quantize there":
        assert {layer.weight.device for layer in layers} == {there}
        assert model.language_model.lm_head.weight.device == CPU
    if first == "quantize and use":
        batch_loss(model, make_batch(0), CPU, label_only=True)
    model.language_model.to(there)
    assert {tensor.device for tensor in (*model.language_model.parameters(), *model.language_model.buffers())} == {
        there
    }
    assert {layer.weight.dtype for layer in layers} == {torch.int8}
    assert len(layers) == 4


@pytest.mark.gpu
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("order", ["move first", "quantize first", "quantize there"])
def test_an_8_bit_base_trains_on_a_gpu(
    training: Callable[[], TrainingState], make_batch: MakeBatch, stage: Stage, order: str, checkpointing: bool
) -> None:
    gpu = torch.device("cuda")
    here, model = training(), training().model
    eight_bit(here)
    if order == "move first":
        model.to(gpu)
    quantize_base(model.language_model, outlier_threshold=0.0, device=gpu if order == "quantize there" else None)
    model.to(gpu)
    if checkpointing:
        model.language_model.activation_checkpointing_enable({"use_reentrant": False})
    there = new_state(model, trainable_parameters(model), stage, (7, "stage4"))
    for state in (here, there):
        state.model.eval()  # dropout draws other masks there
    expected, found = [optimizer_step(state, [make_batch(0)], stage)[0] for state in (here, there)]
    assert abs(found - expected) < 0.01 * expected
    train(there, [[make_batch(step)] for step in range(1)], once(stage), on_step=lambda *_: None)
    assert {p.device.type for p in there.parameters.values()} == {"cuda"}


def once(stage: Stage) -> Stage:
    """A stage of one step."""
    return stage.model_copy(update={"steps_per_epoch": 1, "epochs": 1})


def test_an_8_bit_base_has_nearly_the_loss_and_gradients(
    training: Callable[[], TrainingState], make_batch: MakeBatch
) -> None:
    whole, small = training(), training()
    eight_bit(small)
    for state in (whole, small):
        state.model.eval()
    batch = make_batch(0)
    (loss, gradients), (expected_loss, expected) = loss_and_gradients(small, batch), loss_and_gradients(whole, batch)
    assert loss != expected_loss
    assert relative_error(loss, expected_loss) < 0.01
    assert 0 < relative_error(gradients, expected) < 0.1
    packed_loss, packed = loss_and_gradients(small, batch, packing=True)
    assert relative_error(packed_loss, loss) < 1e-5 and relative_error(packed, gradients) < 1e-2


def test_bfloat16_matrices_have_nearly_the_loss_and_float32_gradients(
    training: Callable[[], TrainingState], make_batch: MakeBatch
) -> None:
    whole, mixed = training(), training()
    for name, module in mixed.model.language_model.named_modules():
        if isinstance(module, nn.Linear | nn.Embedding) and ".lora_" not in name:
            for parameter in module.parameters(recurse=False):
                parameter.data = parameter.data.bfloat16()
    for state in (whole, mixed):
        state.model.eval()
    batch = make_batch(0)
    (loss, gradients), (expected_loss, expected) = loss_and_gradients(mixed, batch), loss_and_gradients(whole, batch)
    assert loss.dtype == gradients.dtype == torch.float32
    assert 0 < relative_error(loss, expected_loss) < 0.01
    assert 0 < relative_error(gradients, expected) < 0.1


@pytest.mark.parametrize("label_only", [False, True])
def test_the_loop_uses_the_switch(
    new_training: NewTraining, make_batch: MakeBatch, stage: Stage, label_only: bool
) -> None:
    state, rows = new_training(), []
    state.model.language_model.lm_head.register_forward_hook(lambda _, __, output: rows.append(output.dim()))
    switched = once(stage).model_copy(update={"label_only_logits": label_only})
    train(state, [[make_batch(0)]], switched, on_step=lambda *_: None)
    assert rows == [2 if label_only else 3]

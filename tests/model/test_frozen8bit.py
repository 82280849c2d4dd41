"""The 8-bit matrix for training beside bitsandbytes' own."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable

import pytest
import torch
from bitsandbytes.nn import Int8Params, Linear8bitLt

from tinygptv.ground.runtime import quiet_libraries
from tinygptv.model.frozen8bit import FrozenLinear8bit, take_over, weight_only

Layer = FrozenLinear8bit | Linear8bitLt


def theirs(threshold: float = 0.0) -> Linear8bitLt:
    quiet_libraries()
    source = torch.Generator().manual_seed(3)
    made = Linear8bitLt(64, 96, has_fp16_weights=False, threshold=threshold, device="meta")
    made.weight = Int8Params(torch.randn(96, 64, generator=source), requires_grad=False).to("cpu")
    made.bias = torch.nn.Parameter(torch.randn(96, generator=source), requires_grad=False)
    return made


def ours(threshold: float = 0.0, *, weight_only: bool = False) -> FrozenLinear8bit:
    model = torch.nn.Sequential(theirs(threshold))
    take_over(model, weight_only=weight_only)
    made = model[0]
    assert isinstance(made, FrozenLinear8bit)
    return made


def outputs(made: Layer, *, training: bool) -> tuple[torch.Tensor, torch.Tensor]:
    inputs = torch.randn(2, 5, 64, generator=torch.Generator().manual_seed(4))
    inputs[0, 0, 3] = 20.0  # an outlier
    inputs.requires_grad_()
    result = made.train(training)(inputs)
    (result * torch.linspace(-1, 1, 96)).sum().backward()
    return result.detach(), inputs.grad


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("threshold", [0.0, 6.0])
def test_output_and_gradient_are_those_of_bitsandbytes(threshold: float, training: bool) -> None:
    found, expected = (outputs(made, training=training) for made in (ours(threshold), theirs(threshold)))
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])


@pytest.mark.parametrize(("make", "kept"), [(ours, False), (theirs, True)])
def test_nothing_is_kept_for_the_backward_pass(make: Callable[[], Layer], kept: bool) -> None:
    """bitsandbytes keeps the input; when it no longer does, our product can go."""
    made = make()
    leaf = torch.randn(2, 5, 64, requires_grad=True)
    inputs = leaf + 1
    storage = weakref.ref(inputs)
    result = made(inputs)
    del inputs
    gc.collect()
    assert (storage() is not None) == kept
    assert result.requires_grad


@pytest.mark.parametrize("weight_only", [False, True])
def test_under_autocast_it_answers_in_16_bits(weight_only: bool) -> None:
    made = ours(weight_only=weight_only)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert made(torch.randn(3, 64)).dtype == torch.bfloat16
    assert made(torch.randn(3, 64)).dtype == torch.float32


def test_a_model_that_is_moved_takes_all_parts_along() -> None:
    """``meta`` stands for a GPU: what stays behind stops the first product there."""
    made = ours()
    made(torch.randn(3, 64))
    torch.nn.Sequential(made).to("meta")
    held = {name: thing for name, thing in vars(made).items() if isinstance(thing, torch.Tensor)}
    assert not held, "tensors that no move finds"
    assert {tensor.device.type for tensor in (*made.buffers(), *made.parameters())} == {"meta"}
    assert {name for name, _ in made.named_buffers()} == {"weight", "SCB", "weight_format"}


def test_another_format_leaves_8_bits_and_scales_alone() -> None:
    made, expected = ours(), ours()
    torch.nn.Sequential(made).bfloat16()
    assert (made.weight.dtype, made.SCB.dtype) == (torch.int8, torch.float32)
    made.bias = expected.bias  # rounded, as any bias
    assert torch.equal(outputs(made, training=True)[0], outputs(expected, training=True)[0])


def test_the_names_on_disk_are_those_of_bitsandbytes() -> None:
    found, expected = ours().state_dict(), theirs().state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)


@pytest.mark.parametrize("rows", [(3,), (1, 1), (2, 5)])
def test_the_weight_only_reader_multiplies_by_the_same_numbers(rows: tuple[int, ...]) -> None:
    made, inputs = ours(6.0, weight_only=True), torch.randn(*rows, 64)
    whole = made.weight.double() * made.SCB.double()[:, None] / 127
    torch.testing.assert_close(made(inputs), (inputs.double() @ whole.T + made.bias.double()).float())
    compiled = torch.compile(weight_only, backend="eager")(inputs, made.weight, made.SCB, made.bias)
    torch.testing.assert_close(compiled, made(inputs))


@pytest.mark.gpu
@pytest.mark.parametrize("threshold", [0.0, 6.0])
@pytest.mark.parametrize("training", [False, True])
def test_a_layer_that_was_moved_to_a_gpu_computes_there(threshold: float, training: bool) -> None:
    made = ours(threshold)
    torch.nn.Sequential(made).to("cuda")
    inputs = torch.randn(2, 5, 64, generator=torch.Generator().manual_seed(4))
    inputs[0, 0, 3] = 20.0  # an outlier
    there = inputs.to("cuda").requires_grad_()
    result = made.train(training)(there)
    (result * torch.linspace(-1, 1, 96, device="cuda")).sum().backward()
    here = outputs(ours(threshold), training=training)
    assert (result.cpu() - here[0]).norm() < 0.02 * here[0].norm()
    assert there.grad is not None
    assert (there.grad.cpu() - here[1]).norm() < 0.02 * here[1].norm()

"""The 8-bit matrix for training beside bitsandbytes' own."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from bitsandbytes.nn import Int8Params, Linear8bitLt

from tinygptv.ground.runtime import quiet_libraries
from tinygptv.model.frozen8bit import FrozenLinear8bit


def layer(kind: type[Linear8bitLt], threshold: float = 0.0) -> Linear8bitLt:
    quiet_libraries()
    source = torch.Generator().manual_seed(3)
    made = kind(64, 96, has_fp16_weights=False, threshold=threshold, device="meta")
    made.weight = Int8Params(torch.randn(96, 64, generator=source), requires_grad=False).to("cpu")
    made.bias = torch.nn.Parameter(torch.randn(96, generator=source), requires_grad=False)
    return made


def outputs(made: Linear8bitLt, *, training: bool) -> tuple[torch.Tensor, torch.Tensor]:
    inputs = torch.randn(2, 5, 64, generator=torch.Generator().manual_seed(4))
    inputs[0, 0, 3] = 20.0  # an outlier
    inputs.requires_grad_()
    result = made.train(training)(inputs)
    (result * torch.linspace(-1, 1, 96)).sum().backward()
    return result.detach(), inputs.grad


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("threshold", [0.0, 6.0])
def test_output_and_gradient_are_those_of_bitsandbytes(threshold: float, training: bool) -> None:
    ours = outputs(layer(FrozenLinear8bit, threshold), training=training)
    theirs = outputs(layer(Linear8bitLt, threshold), training=training)
    assert torch.equal(ours[0], theirs[0])
    assert torch.equal(ours[1], theirs[1])


@pytest.mark.parametrize(("kind", "kept"), [(FrozenLinear8bit, False), (Linear8bitLt, True)])
def test_nothing_is_kept_for_the_backward_pass(kind: type[Linear8bitLt], kept: bool) -> None:
    """bitsandbytes keeps the input; when it no longer does, our layer can go."""
    made = layer(kind)
    leaf = torch.randn(2, 5, 64, requires_grad=True)
    inputs = leaf + 1
    storage = weakref.ref(inputs)
    result = made(inputs)
    del inputs
    gc.collect()
    assert (storage() is not None) == kept
    assert result.requires_grad


def test_under_autocast_it_answers_in_16_bits() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(FrozenLinear8bit)(torch.randn(3, 64)).dtype == torch.bfloat16
    assert layer(FrozenLinear8bit)(torch.randn(3, 64)).dtype == torch.float32


def parts(made: FrozenLinear8bit) -> dict[str, torch.Tensor]:
    """Every tensor that a layer holds, wherever it holds it."""
    held = {
        "weight.CB": made.weight.CB,
        "weight.SCB": made.weight.SCB,
        "state.CB": made.state.CB,
        "state.SCB": made.state.SCB,
    }
    return {"weight": made.weight.data, "bias": made.bias} | {name: t for name, t in held.items() if t is not None}


@pytest.mark.parametrize("used", [False, True])
def test_a_model_that_is_moved_takes_all_parts_along(used: bool) -> None:
    """``meta`` stands for a GPU: what stays behind stops the first product there."""
    made = layer(FrozenLinear8bit)
    if used:
        made(torch.randn(3, 64))
    torch.nn.Sequential(made).to("meta")
    assert {name: part.device.type for name, part in parts(made).items()} == dict.fromkeys(parts(made), "meta")
    assert sum(name.endswith("SCB") for name in parts(made)) == 1
    assert isinstance(made.weight, Int8Params)
    assert not made.weight.requires_grad


@pytest.mark.parametrize("used", [False, True])
def test_another_format_leaves_8_bits_and_scales_alone(used: bool) -> None:
    made, expected = layer(FrozenLinear8bit), layer(FrozenLinear8bit)
    if used:
        made(torch.randn(3, 64))
    torch.nn.Sequential(made).bfloat16()
    formats = {name.partition(".")[2]: part.dtype for name, part in parts(made).items() if name.endswith("CB")}
    assert formats == {"CB": torch.int8, "SCB": torch.float32}
    made.bias.data = expected.bias.data  # rounded, as any bias
    assert torch.equal(outputs(made, training=True)[0], outputs(expected, training=True)[0])


@pytest.mark.gpu
@pytest.mark.parametrize("threshold", [0.0, 6.0])
@pytest.mark.parametrize("training", [False, True])
def test_a_layer_that_was_moved_to_a_gpu_computes_there(threshold: float, training: bool) -> None:
    made = layer(FrozenLinear8bit, threshold)
    torch.nn.Sequential(made).to("cuda")
    inputs = torch.randn(2, 5, 64, generator=torch.Generator().manual_seed(4))
    inputs[0, 0, 3] = 20.0  # an outlier
    there = inputs.to("cuda").requires_grad_()
    result = made.train(training)(there)
    (result * torch.linspace(-1, 1, 96, device="cuda")).sum().backward()
    here = outputs(layer(FrozenLinear8bit, threshold), training=training)
    assert (result.cpu() - here[0]).norm() < 0.02 * here[0].norm()
    assert there.grad is not None
    assert (there.grad.cpu() - here[1]).norm() < 0.02 * here[1].norm()

"""The 8-bit matrix for training beside bitsandbytes' own."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from bitsandbytes.nn import Int8Params, Linear8bitLt

from tinygptv.model.frozen8bit import FrozenLinear8bit
from tinygptv.runtime import quiet_libraries


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

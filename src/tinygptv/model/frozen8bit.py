"""A frozen matrix in 8 bits, its rows scaled, that is whole wherever it is: what it needs are plain buffers.

bitsandbytes' own layer (0.50.2, ``Linear8bitLt``) hides the scales in its parameter and, after the first product, in a
state beside it: ``.to("cuda")`` of a model around it leaves one of the two behind. Its product (``MatMul8bitLt``) keeps
its input past autograd, where gradient checkpointing cannot drop it, although the gradient of that input needs the
matrix alone: over all blocks more than 8 bits save. Under autocast it also answers in the format of its input, float32
behind a norm, where other matrices answer in 16 bits. The products here are bitsandbytes' own kernels.

There are two readers of the same numbers. LLM.int8() rounds activations to 8 bits, too, but for outliers: kernels made
for many rows. The weight-only one multiplies activations as they are with the 8 bits and scales the sums: a step of
decoding reads half of what 16 bits are, and that decides its time on a GPU.

Shapes: M rows of inputs, K inputs, N outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import torch
from torch import nn

LARGEST = 127
"""What the largest number of a row is in 8 bits."""


class _Product(torch.autograd.Function):
    """LLM.int8()'s product, or that of the matrix in the inputs' format."""

    @staticmethod
    def forward(
        ctx: Any,
        inputs: torch.Tensor,
        matrix_NK: torch.Tensor,
        scales_N: torch.Tensor,
        bias_N: torch.Tensor | None,
        threshold: float,
        training: bool,
    ) -> torch.Tensor:
        ctx.matrix_NK, ctx.scales_N = matrix_NK, scales_N  # buffers: nothing that checkpointing should drop
        if as_whole(inputs, training):
            return nn.functional.linear(inputs, _whole(matrix_NK, scales_N, inputs.dtype), bias_N)
        ops, rows_MK = torch.ops.bitsandbytes, inputs.reshape(-1, inputs.shape[-1]).contiguous()
        small_MK, largest_M, outliers = ops.int8_vectorwise_quant(rows_MK.to(torch.float16), threshold)
        if threshold > 0:
            result_MN, _ = ops.int8_mixed_scaled_mm(rows_MK, small_MK, matrix_NK, largest_M, scales_N, outliers, bias_N)
        else:
            result_MN = ops.int8_scaled_mm(small_MK, matrix_NK, largest_M, scales_N, bias=bias_N, dtype=inputs.dtype)
        return result_MN.reshape(*inputs.shape[:-1], len(matrix_NK))

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return gradient @ _whole(ctx.matrix_NK, ctx.scales_N, gradient.dtype), None, None, None, None, None


def as_whole(inputs: torch.Tensor, training: bool) -> bool:
    """Whether a matrix is multiplied in its inputs' format: on the CPU, in training, as bitsandbytes does."""
    return training and inputs.device.type == "cpu"


def _whole(matrix_NK: torch.Tensor, scales_N: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The matrix in another format."""
    return matrix_NK.to(dtype, copy=True).mul_(scales_N.unsqueeze(1).mul(1.0 / LARGEST))


def weight_only(
    inputs: torch.Tensor, matrix_NK: torch.Tensor, scales_N: torch.Tensor, bias_N: torch.Tensor | None
) -> torch.Tensor:
    """The product of inputs as they are; sums are scaled in float32."""
    rows_MK = inputs.reshape(-1, inputs.shape[-1])
    if torch.compiler.is_compiling() and rows_MK.shape[0] == 1:
        # One kernel that reads 8 bits: as a product, the matrix would be written in 16 bits first.
        sums_MN = (rows_MK[:, None].float() * matrix_NK.float()).sum(dim=-1)
    else:
        sums_MN = nn.functional.linear(rows_MK, matrix_NK.to(inputs.dtype)).float()
    scaled_MN = sums_MN * (scales_N * (1.0 / LARGEST))
    if bias_N is not None:
        scaled_MN = scaled_MN + bias_N
    return scaled_MN.to(inputs.dtype).reshape(*inputs.shape[:-1], len(matrix_NK))


class FrozenLinear8bit(nn.Module):
    """A linear map in 8 bits that never trains; its tensors are named as transformers writes them."""

    weight: torch.Tensor
    SCB: torch.Tensor
    weight_format: torch.Tensor

    def __init__(
        self,
        matrix_NK: torch.Tensor,
        scales_N: torch.Tensor,
        bias_N: nn.Parameter | None,
        *,
        threshold: float,
        weight_only: bool = False,
    ) -> None:
        """Take a matrix.

        Args:
            matrix_NK: in 8 bits.
            scales_N: the largest absolute value of each of its rows, in float32.
            bias_N: of the outputs.
            threshold: activations above it are multiplied in 16 bits; 0: none.
            weight_only: how it is read; no gradient goes through, and the threshold has no part in it.
        """
        import bitsandbytes  # noqa: F401 (its kernels are torch's operators from now on)

        super().__init__()
        self.out_features, self.in_features = matrix_NK.shape
        self.threshold, self.weight_only = threshold, weight_only
        self.register_buffer("weight", matrix_NK)
        self.register_buffer("SCB", scales_N)
        self.register_buffer("weight_format", torch.zeros((), dtype=torch.uint8, device=matrix_NK.device))  # by rows
        self.bias = bias_N

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Self:
        """What ``.to`` of any module around this one calls: scales stay in float32."""
        scales_N = self.SCB
        super()._apply(fn, recurse)
        self.SCB = scales_N.to(self.weight.device)
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Multiply; under autocast in its format, as any linear map."""
        kind = x.device.type
        if torch.is_autocast_enabled(kind):
            x = x.to(torch.get_autocast_dtype(kind))
        bias_N = None if self.bias is None else self.bias.to(x.dtype)
        if self.weight_only:
            return weight_only(x, self.weight, self.SCB, bias_N)
        result: torch.Tensor = _Product.apply(x, self.weight, self.SCB, bias_N, self.threshold, self.training)
        return result


def take_over(model: nn.Module, *, weight_only: bool) -> None:
    """Put matrices of this module in the place of bitsandbytes' own, of the same tensors.

    Args:
        model: as transformers opens a folder in 8 bits.
        weight_only: how they are read.
    """
    from bitsandbytes.nn import Linear8bitLt

    found = {name: part for name, part in model.named_modules() if isinstance(part, Linear8bitLt)}
    for name, part in found.items():
        frozen = FrozenLinear8bit(
            part.weight.data, part.weight.SCB, part.bias, threshold=part.state.threshold, weight_only=weight_only
        )
        model.set_submodule(name, frozen.train(part.training))

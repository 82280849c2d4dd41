"""A frozen matrix in 8 bits that keeps nothing for the backward pass.

bitsandbytes' own layer (0.50.2, ``MatMul8bitLt``) keeps its input past autograd, where gradient checkpointing cannot
drop it, although the gradient of that input needs the matrix alone: over all blocks more than 8 bits save. Under
autocast it also answers in the format of its input, float32 behind a norm, where other matrices answer in 16 bits.
And a model that is moved takes the matrix along, but not its scales, nor what the layer put into its state.
"""

from collections.abc import Callable
from typing import Any, Self

import torch
from bitsandbytes.nn import Int8Params, Linear8bitLt


class _KeepNothing(torch.autograd.Function):
    """bitsandbytes' product; its gradient is that of ``MatMul8bitLt``."""

    @staticmethod
    def forward(ctx: Any, inputs: torch.Tensor, layer: Linear8bitLt) -> torch.Tensor:
        ctx.layer = layer
        return Linear8bitLt.forward(layer, inputs)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        state = ctx.layer.state
        matrix = state.CB.to(gradient.dtype, copy=True).mul_(state.SCB.unsqueeze(1).mul(1.0 / 127.0))
        return gradient @ matrix, None


class FrozenLinear8bit(Linear8bitLt):
    """``Linear8bitLt`` for matrices that never train."""

    def hold(self, matrix_NK: torch.Tensor, scales_N: torch.Tensor) -> None:
        """Take a matrix in 8 bits [outputs, inputs] and the largest absolute value of each of its rows."""
        self.weight = Int8Params(matrix_NK, requires_grad=False, CB=matrix_NK, SCB=scales_N)
        self.state.CB = self.state.SCB = None  # the first product after this puts them there

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Self:
        """What ``.to`` of any module around this one calls: all parts go to one device, the scales in float32."""
        scales_N = self.state.SCB if self.weight.SCB is None else self.weight.SCB  # after and before the first product
        if scales_N is None:  # not in 8 bits yet: bitsandbytes quantizes as it moves
            return super()._apply(fn, recurse)
        matrix_NK = fn(self.weight.data)
        del self._parameters["weight"]
        super()._apply(fn, recurse)
        self.hold(matrix_NK, scales_N.to(matrix_NK.device))
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Multiply; under autocast in its format, as any linear map."""
        kind = x.device.type
        if torch.is_autocast_enabled(kind):
            x = x.to(torch.get_autocast_dtype(kind))
        return _KeepNothing.apply(x, self)

"""A frozen matrix in 8 bits that keeps nothing for the backward pass.

bitsandbytes' own layer (0.50.2, ``MatMul8bitLt``) keeps its input past autograd, where gradient checkpointing cannot
drop it, although the gradient of that input needs the matrix alone: over all blocks more than 8 bits save. Under
autocast it also answers in the format of its input, float32 behind a norm, where other matrices answer in 16 bits.
"""

from typing import Any

import torch
from bitsandbytes.nn import Linear8bitLt


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

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Multiply; under autocast in its format, as any linear map."""
        kind = x.device.type
        if torch.is_autocast_enabled(kind):
            x = x.to(torch.get_autocast_dtype(kind))
        return _KeepNothing.apply(x, self)

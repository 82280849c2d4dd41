"""Blocks of the language model, compiled: a few kernels instead of the many operations of ``model/language``.

All blocks of a model have the same code, so that one of them is compiled and all use it. How long sequences are and how
many a micro-batch has is left open, or every new length would be compiled anew; but what a compiler makes of an open
length depends on the first one that it sees. Before the first step it therefore sees the largest micro-batch that the
stage's settings allow, and none of the data: a stage that goes on after a kill, and one that finds the cache of an
earlier run, have the code, and the bits, of one that does neither. No kernel is chosen by its time.

Sources: PyTorch's "regional compilation" recipe; ``torch/_inductor/config.py`` (``deterministic``).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinygptv.data.batches import Batch
from tinygptv.data.prompts import IGNORE_INDEX
from tinygptv.ground import runtime
from tinygptv.training.loss import batch_loss

if TYPE_CHECKING:
    from torch import nn

    from tinygptv.config import Config, Stage
    from tinygptv.model.modeling import TinyGPTVForConditionalGeneration

CACHE = "compiled"
"""Folder of a profile's state for what was compiled; it may be removed at any time."""
FORMS = 64
"""Ways in which one block may be compiled: with and without a mask, gradients, one sequence or several, the first block
or a later one. torch's own limit is 8, after which it goes on without compiling, and says so in its log alone."""


def compile_blocks(
    model: TinyGPTVForConditionalGeneration, config: Config, name: str, cache: Path, *, backend: str = "inductor"
) -> None:
    """Compile the blocks of a stage's model, in place, with the formats and adapters that it will train with.

    Args:
        model: on its device.
        config: the profile.
        name: the stage.
        cache: folder for what was compiled; another process that finds it there starts in seconds.
        backend: ``eager`` traces and compiles nothing.

    Raises:
        torch._dynamo.exc.Unsupported: something in a block cannot be traced.
    """
    from torch._dynamo import config as tracing
    from torch.fx.experimental import _config as shapes

    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(cache.resolve())
    tracing.recompile_limit = FORMS
    shapes.use_duck_shape = False  # a length that is a width by chance stays a length
    stage = config.stage(name)
    options = None if backend == "eager" or not config.runtime.deterministic else runtime.untimed()
    set_compiled(model, stage, dynamic=True, backend=backend, options=options)
    warm_up(model, config, stage)


def set_compiled(model: TinyGPTVForConditionalGeneration, stage: Stage, **how: Any) -> None:
    """Have the blocks compiled when they are called next; ``how`` goes to ``torch.compile``."""
    from tinygptv.model.language import architecture_of

    for block in architecture_of(model.config.text_config).blocks_of(model.language_model):
        if stage.base_8bit:
            leave_8bit(block)
        block.compile(fullgraph=not stage.base_8bit, **how)


def leave_8bit(block: nn.Module) -> None:
    """Matrices in 8 bits run as they are, between the compiled parts: bitsandbytes has kernels of its own."""
    import torch

    from tinygptv.model.frozen8bit import FrozenLinear8bit

    for part in block.modules():
        if isinstance(part, FrozenLinear8bit):
            part.forward = torch.compiler.disable(part.forward)  # type: ignore[method-assign]


def warm_up(model: TinyGPTVForConditionalGeneration, config: Config, stage: Stage) -> None:
    """Forward and backward pass of the largest micro-batches; weights stay as they are."""
    device = next(model.projector.parameters()).device
    model.train()
    for batch in largest_batches(config, stage):
        batch_loss(model, batch, device, label_only=stage.label_only_logits, packing=stage.packing).backward()
    model.zero_grad(set_to_none=True)


def largest_batches(config: Config, stage: Stage) -> Iterator[Batch]:
    """A micro-batch for each way in which the blocks are called, all sequences as long as they may be."""
    import torch

    queries, tokens = config.model.qformer.num_query_tokens, stage.max_sequence_tokens
    steps = stage.batch_size.values() if isinstance(stage.batch_size, dict) else [stage.batch_size]
    sizes = {min(stage.micro_batch_size, step) for step in steps} | {step % stage.micro_batch_size for step in steps}
    masks = (False, True) if stage.prompt.bos_between_turns and not stage.packing else (False,)
    for samples in sorted({1} & sizes | {max(sizes)}, reverse=True):
        for masked in masks:
            ids_BT = torch.zeros(samples, tokens, dtype=torch.long)
            ids_BT[:, :queries] = config.model.text.vocab_size
            labels_BT = torch.where(ids_BT == 0, 0, IGNORE_INDEX)
            mask_BT = torch.ones_like(ids_BT)
            mask_BT[:, queries] = int(not masked)  # as the BOS token before a later question
            features_NQD = torch.zeros(samples, queries, config.model.qformer.hidden_size)
            yield Batch(("",) * samples, ids_BT, mask_BT, labels_BT, features_NQD)

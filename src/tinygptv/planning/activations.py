"""Bytes that a training step holds between forward and backward pass.

What the language model keeps its own description says (``model/language``); the projections before it and the loss
behind it are counted here. In bfloat16 matrices multiply in 16 bits and the residual stream is in float32
(``model/backbones.py``). CUDA's autocast runs LayerNorm and ``pow`` in float32, the CPU's does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tinygptv.planning.sizes import FLOAT32

if TYPE_CHECKING:
    from tinygptv.config import Config, Stage
    from tinygptv.model.language.training_pass import Device, Pass

INT64 = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Activations:
    """Bytes by the time at which they are needed."""

    saved: int
    """From forward to backward pass; the loss not among them."""
    loss: int
    """What the loss keeps: log-probabilities in float32."""
    logits: int
    """The head at its worst moment, ``loss`` among it."""
    recomputed: int
    """What a block keeps while checkpointing computes it again."""
    working: int
    """An estimate of a block's gradients on their way."""

    @property
    def peak(self) -> int:
        """The most that is held at once."""
        return self.saved + max(self.logits, self.recomputed + self.working)


def longest_pass(config: Config, stage: Stage, device: Device, *, adapters: bool) -> Pass:
    """The largest forward pass that a stage's settings allow."""
    from tinygptv.model.language.training_pass import Pass

    whole = stage.batch_size if isinstance(stage.batch_size, int) else max(stage.batch_size.values())
    samples, tokens = min(stage.micro_batch_size, whole), stage.max_sequence_tokens
    return Pass(
        samples=samples,
        tokens=tokens,
        learned_tokens=max(tokens - config.model.qformer.num_query_tokens, 1),  # visual tokens are not predicted
        label_only=stage.label_only_logits,
        product=2 if config.runtime.dtype == "bfloat16" else FLOAT32,
        cuda=device == "cuda",
        adapters=adapters,
        trains_input_norm="input_norm" in stage.trainable,
        trains_rms_norm="rms_norm" in stage.trainable,
        trains_final_norm="final_norm" in stage.trainable,
        checkpointing=stage.gradient_checkpointing,
        compiled=stage.compile,
    )


def activations(config: Config, run: Pass) -> Activations:
    """All activations of a forward pass in training, the projections being trained, as in every stage of the paper."""
    from tinygptv.model.language import of_profile

    text, layers = config.model.text, config.model.text.num_hidden_layers
    kept = of_profile(text).kept(text, config.model.lora, run)
    ends = _ends(config, run) + kept.ends
    loss = run.predictions * (text.vocab_size * FLOAT32 + INT64)
    # The backward pass of the loss holds log-probabilities and two gradients of the logits, all in float32; the
    # forward pass holds the logits, their copy in float32 and the log-probabilities, which is no more.
    logits = 3 * FLOAT32 * run.predictions * text.vocab_size
    if not run.checkpointing:
        blocks = sum(kept.first.values()) + (layers - 1) * sum(kept.later.values())
        return Activations(saved=ends + blocks, loss=loss, logits=logits, recomputed=0, working=kept.working)
    inputs = text.hidden_size * run.all_tokens * (kept.entering + (layers - 1) * kept.stream)
    again = sum(kept.later.values())
    return Activations(saved=ends + inputs, loss=loss, logits=logits, recomputed=again, working=kept.working)


def _ends(config: Config, run: Pass) -> int:
    """Bytes kept outside the language model: projections, image slots, gathering of labelled positions."""
    model = config.model
    visual = run.samples * model.qformer.num_query_tokens
    projector = visual * run.product * (model.qformer.hidden_size + model.projection_size)
    if run.half:  # autocast's copy of a trained matrix whose input has gradients
        projector += run.product * model.projection_size * model.text.hidden_size
    gathered = INT64 * run.predictions if run.label_only else 0
    return projector + gathered + visual * (INT64 + run.product * model.text.hidden_size)

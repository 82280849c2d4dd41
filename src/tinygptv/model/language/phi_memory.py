"""Bytes that a training step holds of Phi between forward and backward pass, op by op.

Autograd keeps an operation's input where the gradient of a trained tensor, or of another input, needs it. A frozen
matrix therefore keeps nothing, an adapter keeps its input, a norm keeps its input and two numbers a token. The rules
below follow one block of ``phi.py`` from its input to its output. They are checked against torch itself
(``saved_tensors_hooks``) for every lever in ``tests/planning/test_activations.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinygptv.model.language.training_pass import FLOAT32, Kept

if TYPE_CHECKING:
    from tinygptv.config import Lora, Text
    from tinygptv.model.language.training_pass import Pass


def kept(text: Text, lora: Lora, run: Pass) -> Kept:
    """What a forward pass keeps."""
    stream = FLOAT32 if text.rms_norm else run.product  # the RMSNorm's float32 weight makes the residual float32
    block = _compiled_block if run.compiled else _block
    return Kept(
        first=block(text, lora, run, stream),
        later=block(text, lora, run, stream),
        entering=stream,
        stream=stream,
        ends=_ends(text, lora, run, stream),
        # The gradients on both sides of GELU, and about four of the residual's width.
        working=run.all_tokens * (2 * run.product * text.intermediate_size + 4 * FLOAT32 * text.hidden_size),
    )


def _block(text: Text, lora: Lora, run: Pass, stream: int) -> dict[str, int]:
    """What one decoder block keeps, by part; ``stream`` are the bytes of a number of its input."""
    width, inner, heads, product = text.hidden_size, text.intermediate_size, text.num_attention_heads, run.product
    statistics = 2 * FLOAT32

    norms = width * run.normed(stream) + statistics
    # One storage holds queries, keys and values until the attention's backward pass.
    attention = 3 * width * product
    if text.qk_norm:
        norms += 2 * heads * statistics
        if run.normed(product) != product:
            norms += 2 * width * FLOAT32  # queries and keys are copied to float32 for their norms
    attention += 2 * width * product  # queries and keys after the rotation
    attention += width * product + heads * FLOAT32  # context, and the logarithm of each row's sum
    if text.rms_norm:
        norms += width * FLOAT32 + FLOAT32
        norms += width * FLOAT32 if run.trains_rms_norm else 0
    result = {
        "norms": norms,
        "attention": attention,
        "adapters": _adapter(text, lora, run) if run.adapters else 0,
        "mlp": inner * product,  # what enters GELU
        "dropout": 0,
    }
    if text.resid_pdrop:
        result["dropout"] = width * (run.mask(FLOAT32 if text.rms_norm else product) + run.mask(product))
    return {part: size * run.all_tokens for part, size in result.items()}


def _compiled_block(text: Text, lora: Lora, run: Pass, stream: int) -> dict[str, int]:
    """What a compiled block keeps: what enters its matrices and its attention, and what it would draw anew otherwise.

    Norms, GELU and dropout are computed again from what is kept, as the partition of torch's compiler has it: it keeps
    the inputs of products and random numbers, and of chains of elementwise operations their beginning.
    """
    width, inner, heads, product = text.hidden_size, text.intermediate_size, text.num_attention_heads, run.product
    attention = (3 + 2 + 1) * width * product + heads * FLOAT32  # fused; turned queries and keys; context and its sums
    statistics = 2 * FLOAT32
    result = {
        "norms": width * stream + statistics + (2 * heads * statistics if text.qk_norm else 0),
        "attention": attention + (width * product + FLOAT32 if text.rms_norm else 0),  # what the RMSNorm norms
        "adapters": 2 * (lora.rank * product + width * (product + bool(lora.dropout))) if run.adapters else 0,
        "mlp": inner * product,
        "dropout": 2 * width if text.resid_pdrop else 0,  # flags
    }
    return {part: size * run.all_tokens for part, size in result.items()}


def _adapter(text: Text, lora: Lora, run: Pass) -> int:
    """Bytes a token of the two adapters of a block: inputs of A and B, and dropout's masks."""
    width, product = text.hidden_size, run.product
    into_b = 2 * lora.rank * product
    if lora.dropout:
        return into_b + 2 * width * (product + run.mask(FLOAT32))
    # Without dropout the input of the second A is the context itself, unless autocast copies it.
    return into_b + width * product * (2 if run.half else 1)


def _ends(text: Text, lora: Lora, run: Pass, stream: int) -> int:
    """Bytes kept outside the blocks: rotation, last norm, and autocast's copies of adapters."""
    copies = 0
    if run.half and run.adapters and not run.checkpointing:  # trained matrices whose inputs have gradients
        copies = run.product * text.num_hidden_layers * lora.rank * 6 * text.hidden_size
    channels = int(text.hidden_size // text.num_attention_heads * text.partial_rotary_factor)
    rotation = 2 * run.tokens * channels * run.product
    last_norm = run.all_tokens * (text.hidden_size * run.normed(stream) + 2 * FLOAT32)
    return copies + rotation + last_norm

"""Bytes that a training step holds of Llama between forward and backward pass, op by op.

The rules are those of ``phi_memory.py``: autograd keeps an operation's input where the gradient of a trained tensor, or
of another input, needs it. They follow one block of ``llama.py`` and are checked against torch itself in
``tests/planning/test_llama_activations.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinygptv.model.language.training_pass import FLOAT32, Kept

if TYPE_CHECKING:
    from tinygptv.config import Lora, Text
    from tinygptv.model.language.training_pass import Pass


def kept(text: Text, lora: Lora, run: Pass) -> Kept:
    """What a forward pass keeps."""
    stream = FLOAT32 if text.rms_norm else run.product  # the added RMSNorm's float32 weight makes the residual float32
    block = _compiled_block if run.compiled else _block
    return Kept(
        first=block(text, lora, run, run.product),
        later=block(text, lora, run, stream),
        entering=run.product,
        stream=stream,
        ends=_ends(text, lora, run),
        # Gradients of SwiGLU's three numbers, and about four of the residual's width.
        working=run.all_tokens * (3 * run.product * text.intermediate_size + 4 * FLOAT32 * text.hidden_size),
    )


def cached(text: Text) -> int:
    """A key and a value of every head that has its own."""
    return 2 * shared_width(text)


def shared_width(text: Text) -> int:
    """Numbers of a token's keys, or of its values."""
    own = text.num_key_value_heads or text.num_attention_heads
    return own * (text.hidden_size // text.num_attention_heads)


def _block(text: Text, lora: Lora, run: Pass, stream: int) -> dict[str, int]:
    """What one decoder block keeps, by part; norms copy a stream that is not float32 already."""
    width, inner, product = text.hidden_size, text.intermediate_size, run.product
    narrow, heads = shared_width(text), text.num_attention_heads
    own_heads = text.num_key_value_heads or heads
    statistics = 2 * FLOAT32

    norms = 2 * _rms_norm(width, trained=run.trains_input_norm)
    if text.rms_norm:
        norms += _rms_norm(width, trained=run.trains_rms_norm)
    attention = (width + 2 * narrow) * product  # queries and keys after the rotation, values
    if text.qk_norm:
        norms += (width + narrow) * run.normed(product) + (heads + own_heads) * statistics
    attention += width * product + heads * FLOAT32  # context, and the logarithm of each row's sum
    result = {
        "norms": norms,
        "attention": attention,
        "adapters": _adapters(text, lora, run) if run.adapters else 0,
        "mlp": 3 * inner * product,  # silu keeps its input, the product both factors
    }
    return {part: size * run.all_tokens for part, size in result.items()}


def _compiled_block(text: Text, lora: Lora, run: Pass, stream: int) -> dict[str, int]:
    """What a compiled block keeps by the rules of ``phi_memory.py``, of a stream with so many bytes a number."""
    width, product, statistics = text.hidden_size, run.product, 2 * FLOAT32
    narrow, heads = shared_width(text), text.num_attention_heads
    own_heads = text.num_key_value_heads or heads
    attention = (2 * (width + narrow) + narrow + width) * product + heads * FLOAT32
    inputs = 4 * width + (2 * width + text.intermediate_size if lora.mlp else 0)
    adapters = (7 if lora.mlp else 4) * lora.rank * product + inputs * (product + bool(lora.dropout))
    result = {
        "norms": width * stream + statistics + ((heads + own_heads) * statistics if text.qk_norm else 0),
        "attention": attention + (width * product + FLOAT32 if text.rms_norm else 0),  # what the RMSNorm norms
        "adapters": adapters if run.adapters else 0,
        "mlp": 2 * text.intermediate_size * product,
    }
    return {part: size * run.all_tokens for part, size in result.items()}


def _rms_norm(width: int, *, trained: bool) -> int:
    """Bytes a token: the input in float32, its size, and for a trained gain what that multiplies."""
    return width * FLOAT32 * (1 + trained) + FLOAT32


def _adapters(text: Text, lora: Lora, run: Pass) -> int:
    """Bytes a token of the four adapters of a block, or seven: inputs of A and B, and dropout's masks."""
    width, inner, product = text.hidden_size, text.intermediate_size, run.product
    into_b = (7 if lora.mlp else 4) * lora.rank * product
    inputs = 4 * width + (2 * width + inner if lora.mlp else 0)
    if lora.dropout:
        return into_b + inputs * (product + run.mask(FLOAT32))
    if run.half:  # autocast makes a copy for each
        return into_b + inputs * product
    # One input for queries, keys and values, and one for gate and up; that of the output is the context itself.
    return into_b + (width + (width + inner if lora.mlp else 0)) * product


def _adapter_width(text: Text, lora: Lora) -> int:
    """Numbers of a block's adapters for each rank."""
    attention = 6 * text.hidden_size + 2 * shared_width(text)
    return attention + (3 * (text.hidden_size + text.intermediate_size) if lora.mlp else 0)


def _ends(text: Text, lora: Lora, run: Pass) -> int:
    """Bytes kept outside the blocks: rotation, last norm, and autocast's copies of adapters."""
    width, copies = text.hidden_size, 0
    if run.half and run.adapters and not run.checkpointing:  # trained matrices whose inputs have gradients
        copies = run.product * text.num_hidden_layers * lora.rank * _adapter_width(text, lora)
    rotation = 2 * run.tokens * (width // text.num_attention_heads) * run.product
    return copies + rotation + run.all_tokens * _rms_norm(width, trained=run.trains_final_norm)

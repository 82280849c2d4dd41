"""Bytes that a training step holds between forward and backward pass, op by op.

Autograd keeps an operation's input where the gradient of a trained tensor, or of another input, needs it. A frozen
matrix therefore keeps nothing, an adapter keeps its input, a norm keeps its input and two numbers a token. The rules
below follow one block of ``model/phi.py`` from its input to its output. They are checked against torch itself
(``saved_tensors_hooks``) for every lever in ``tests/planning/test_activations.py``.

In bfloat16 matrices multiply in 16 bits and the residual stream is in float32 (``model/assembly.py``). CUDA's autocast
runs LayerNorm and ``pow`` in float32, the CPU's does not: hence ``cuda``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from tinygptv.config import Config, Lora, Stage, Text

Device = Literal["cpu", "cuda"]
FLOAT32, INT64 = 4, 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """One forward pass of a stage, at its longest."""

    samples: int
    """Sequences of a micro-batch."""
    tokens: int
    """Tokens of a sequence, visual tokens and padding included."""
    learned_tokens: int
    """Tokens of a sequence that may carry loss."""
    label_only: bool
    product: int
    """Bytes of a number that enters a product: 2 in bfloat16."""
    cuda: bool
    adapters: bool
    trains_rms_norm: bool
    checkpointing: bool

    @property
    def half(self) -> bool:
        """Whether products are in 16 bits."""
        return self.product < FLOAT32

    @property
    def predictions(self) -> int:
        """Positions of the micro-batch at which the loss looks at logits."""
        return self.samples * (self.learned_tokens if self.label_only else self.tokens - 1)

    @property
    def all_tokens(self) -> int:
        """Tokens of the micro-batch."""
        return self.samples * self.tokens

    def normed(self, size: int) -> int:
        """Bytes of a number that LayerNorm keeps and gives, for inputs of ``size`` bytes."""
        return FLOAT32 if self.cuda else size

    def mask(self, size: int) -> int:
        """Bytes of dropout's mask for a number of ``size`` bytes: a flag on CUDA, a factor on the CPU."""
        return 1 if self.cuda else size


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
        trains_rms_norm="rms_norm" in stage.trainable,
        checkpointing=stage.gradient_checkpointing,
    )


def activations(config: Config, run: Pass) -> Activations:
    """All activations of a forward pass in training, the projections being trained, as in every stage of the paper."""
    text, layers = config.model.text, config.model.text.num_hidden_layers
    stream = FLOAT32 if text.rms_norm else run.product  # the RMSNorm's float32 weight makes the residual float32
    first = block(text, config.model.lora, run, stream=run.product)
    later = block(text, config.model.lora, run, stream=stream)
    width = text.hidden_size * run.all_tokens
    ends = _ends(config, run, stream)
    loss = run.predictions * (text.vocab_size * FLOAT32 + INT64)
    # The backward pass of the loss holds log-probabilities and two gradients of the logits, all in float32; the
    # forward pass holds the logits, their copy in float32 and the log-probabilities, which is no more.
    logits = 3 * FLOAT32 * run.predictions * text.vocab_size
    # gelu_new is many operations: about four gradients of the MLP's width, and as many of the residual's.
    working = 4 * FLOAT32 * run.all_tokens * (text.intermediate_size + text.hidden_size)
    if not run.checkpointing:
        blocks = sum(first.values()) + (layers - 1) * sum(later.values())
        return Activations(saved=ends + blocks, loss=loss, logits=logits, recomputed=0, working=working)
    inputs = width * (run.product + (layers - 1) * stream)
    return Activations(saved=ends + inputs, loss=loss, logits=logits, recomputed=sum(later.values()), working=working)


def block(text: Text, lora: Lora, run: Pass, *, stream: int) -> dict[str, int]:
    """What one decoder block keeps, by part.

    Args:
        text: sizes.
        lora: settings of the adapters.
        run: the forward pass.
        stream: bytes of a number of the block's input.
    """
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
    if run.samples > 1:
        attention += run.tokens * product  # the mask of the padding, turned into numbers once for every block
    if text.rms_norm:
        norms += width * FLOAT32 + FLOAT32
        norms += width * product if run.trains_rms_norm else 0
    result = {
        "norms": norms,
        "attention": attention,
        "adapters": _adapter(text, lora, run) if run.adapters else 0,
        "mlp": inner * _gelu(run),
        "dropout": 0,
    }
    if text.resid_pdrop:
        result["dropout"] = width * (run.mask(FLOAT32 if text.rms_norm else product) + run.mask(product))
    return {part: size * run.all_tokens for part, size in result.items()}


def _adapter(text: Text, lora: Lora, run: Pass) -> int:
    """Bytes a token of the two adapters of a block: inputs of A and B, and dropout's masks."""
    width, product = text.hidden_size, run.product
    into_b = 2 * lora.rank * product
    if lora.dropout:
        return into_b + 2 * width * (product + run.mask(FLOAT32))
    # Without dropout the input of the second A is the context itself, unless something copies it: autocast, or the
    # CPU's attention, which gives it in another order of dimensions.
    return into_b + width * product * (1 if run.cuda and not run.half else 2)


def _gelu(run: Pass) -> int:
    """Bytes that gelu_new keeps of a number.

    0.5 x (1 + tanh(c (x + 0.044715 x^3))) keeps x for the cube, the tanh, and both factors of the product.
    """
    if run.cuda and run.half:  # autocast: the cube in float32, and all that follows from it
        return run.product + 3 * FLOAT32
    return 4 * run.product


def _ends(config: Config, run: Pass, stream: int) -> int:
    """Bytes kept outside the blocks: projections, image slots, rotation, last norm, gathering of labelled positions."""
    model, text = config.model, config.model.text
    visual = run.samples * model.qformer.num_query_tokens
    projector = visual * run.product * (model.qformer.hidden_size + model.projection_size)
    if run.half:  # autocast's copies of trained matrices whose inputs have gradients
        projector += run.product * model.projection_size * text.hidden_size
        if run.adapters and not run.checkpointing:
            projector += run.product * text.num_hidden_layers * model.lora.rank * 6 * text.hidden_size
    channels = int(text.hidden_size // text.num_attention_heads * text.partial_rotary_factor)
    rotation = 2 * run.tokens * channels * run.product
    last_norm = run.all_tokens * (text.hidden_size * run.normed(stream) + 2 * FLOAT32)
    gathered = 2 * INT64 * run.predictions if run.label_only else 0
    return projector + rotation + last_norm + gathered + run.all_tokens

"""Sections `runtime` and `model`: where numbers are computed, and the sizes of every part."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from tinygptv.config.base import Count, Fraction, Positive, Rate, Section


class Runtime(Section):
    """Where numbers are computed."""

    device: Literal["auto", "cpu", "cuda"] = Field(description="`auto` takes CUDA where there is one.")
    dtype: Literal["float32", "bfloat16"] = Field(description="Frozen weights; trained tensors are always float32.")
    threads: Count = Field(description="CPU threads of torch; part of what decides the bits.")
    deterministic: bool = Field(description="Only kernels that give the same bits each time.")


class Vision(Section):
    """The frozen image tower (EVA-CLIP ViT-g in the paper)."""

    tower: Literal["eva", "clip"] = Field(description="`eva`: BLIP-2's ViT; `clip`: CLIP's, as in BLIP-2 ViT-L.")
    image_size: Count = Field(description="Pixels of a side at which its positions are learned.")
    patch_size: Count = Field(description="Pixels of a patch's side.")
    hidden_size: Count = Field(description="Width.")
    num_hidden_layers: Count = Field(description="Blocks.")
    num_attention_heads: Count = Field(description="Attention heads.")
    intermediate_size: Count = Field(description="Width inside the MLP.")


class QFormer(Section):
    """The frozen BLIP-2 Q-Former, which turns patches into a few visual tokens."""

    num_query_tokens: Count = Field(description="Visual tokens of an image (32 in the paper).")
    hidden_size: Count = Field(description="Width.")
    num_hidden_layers: Count = Field(description="Layers.")
    num_attention_heads: Count = Field(description="Attention heads.")
    intermediate_size: Count = Field(description="Width inside the MLP.")
    cross_attention_frequency: Count = Field(description="Every n-th layer looks at the patches.")


class Text(Section):
    """The Phi language model with QK-Norm and RMSNorm."""

    vocab_size: Count = Field(description="Rows of the embedding; the image slot's id is the next number.")
    hidden_size: Count = Field(description="Width.")
    intermediate_size: Count = Field(description="Width inside the MLP.")
    num_hidden_layers: Count = Field(description="Layers.")
    num_attention_heads: Count = Field(description="Attention heads.")
    partial_rotary_factor: Fraction = Field(description="Share of a head's channels that rotate with the position.")
    max_position_embeddings: Count = Field(description="Longest sequence in tokens, visual tokens included.")
    resid_pdrop: Rate = Field(description="Dropout on the residual branches while training (0.1 in Phi-2).")
    qk_norm: bool = Field(description="LayerNorm on queries and keys, head by head; false is an ablation.")
    rms_norm: bool = Field(description="RMSNorm on the attention's output; false is an ablation.")


class Lora(Section):
    """Low-rank adapters on the attention of the language model (PEFT)."""

    rank: Count = Field(description="Rank (64 in the paper).")
    alpha: Count = Field(description="Scale times rank (16 in the paper).")
    dropout: Rate = Field(description="Dropout on the adapter's input.")


class Model(Section):
    """Sizes of every part; the sizes of the paper are in `configs/paper.yaml`."""

    vision: Vision
    qformer: QFormer
    projection_size: Count = Field(description="Width between the two projections (4096 in the paper).")
    text: Text
    lora: Lora
    initializer_range: Positive = Field(description="Standard deviation of fresh weights.")

    @model_validator(mode="after")
    def _rotary_channels_are_even(self) -> Self:
        head = self.text.hidden_size // self.text.num_attention_heads
        if int(head * self.text.partial_rotary_factor) % 2:
            raise ValueError(
                f"text.partial_rotary_factor: {self.text.partial_rotary_factor} of {head} channels a head is odd; "
                "rotary embeddings turn channels in pairs"
            )
        return self

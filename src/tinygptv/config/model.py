"""Sections `runtime` and `model`: where numbers are computed, and the sizes of every part."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

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


YOUNGER = (("architecture", "phi"), ("num_key_value_heads", None))
"""Keys of `text`, with the values that mean what their absence does."""


class Text(Section):
    """The language model with QK-Norm and RMSNorm."""

    architecture: Literal["phi", "llama"] = Field(
        default="phi", description="`phi`: Phi-2, Phi-1.5; `llama`: TinyLLaMA. Absent: `phi`."
    )
    vocab_size: Count = Field(description="Rows of the embedding; the image slot's id is the next number.")
    hidden_size: Count = Field(description="Width.")
    intermediate_size: Count = Field(description="Width inside the MLP.")
    num_hidden_layers: Count = Field(description="Layers.")
    num_attention_heads: Count = Field(description="Attention heads.")
    num_key_value_heads: Count | None = Field(
        default=None, description="Heads of keys and values, which `llama` may share; absent: as many as of attention."
    )
    partial_rotary_factor: Fraction = Field(description="Share of a head's channels that rotate with the position.")
    max_position_embeddings: Count = Field(description="Longest sequence in tokens, visual tokens included.")
    resid_pdrop: Rate = Field(description="Dropout on the residual branches while training (0.1 in Phi-2).")
    qk_norm: bool = Field(description="LayerNorm on queries and keys, head by head; false is an ablation.")
    rms_norm: bool = Field(description="RMSNorm on the attention's output; false is an ablation.")

    @model_serializer(mode="wrap")
    def _without_defaults(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # The two keys are younger than manifests that say what weights were made with: one without them means these.
        return {key: value for key, value in dump(self).items() if (key, value) not in YOUNGER}

    @model_validator(mode="after")
    def _keys_fit_the_architecture(self) -> Self:
        shared = self.num_key_value_heads or self.num_attention_heads
        if self.num_attention_heads % shared:
            raise ValueError(
                f"num_key_value_heads: {shared} do not divide the {self.num_attention_heads} heads of attention"
            )
        if self.architecture == "phi" and shared != self.num_attention_heads:
            raise ValueError("num_key_value_heads: phi has one for every head of attention; leave the key out")
        if self.architecture == "llama" and self.partial_rotary_factor != 1.0:
            raise ValueError("partial_rotary_factor: all channels of llama rotate; set it to 1.0")
        if self.architecture == "llama" and self.resid_pdrop:
            raise ValueError("resid_pdrop: llama has no dropout there; set it to 0.0")
        return self


class Lora(Section):
    """Low-rank adapters on the attention of the language model (PEFT)."""

    rank: Count = Field(description="Rank (64 in the paper).")
    alpha: Count = Field(description="Scale times rank (16 in the paper).")
    dropout: Rate = Field(description="Dropout on the adapter's input.")
    mlp: bool = Field(
        default=False, description="Also on the MLP of `llama`, whose adapters the paper does not place. Absent: false."
    )

    @model_serializer(mode="wrap")
    def _without_default(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in dump(self).items() if (key, value) != ("mlp", False)}


class Model(Section):
    """Sizes of every part; the sizes of the paper are in `configs/paper.yaml`."""

    vision: Vision
    qformer: QFormer
    projection_size: Count = Field(description="Width between the two projections (4096 in the paper).")
    text: Text
    lora: Lora
    initializer_range: Positive = Field(description="Standard deviation of fresh weights.")

    @model_validator(mode="after")
    def _adapters_have_a_place(self) -> Self:
        if self.lora.mlp and self.text.architecture == "phi":
            raise ValueError(
                "lora.mlp: phi's adapters are on its attention, as in the released files; leave the key out"
            )
        return self

    @model_validator(mode="after")
    def _rotary_channels_are_even(self) -> Self:
        head = self.text.hidden_size // self.text.num_attention_heads
        if int(head * self.text.partial_rotary_factor) % 2:
            raise ValueError(
                f"text.partial_rotary_factor: {self.text.partial_rotary_factor} of {head} channels a head is odd; "
                "rotary embeddings turn channels in pairs"
            )
        return self

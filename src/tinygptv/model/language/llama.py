"""Llama (TinyLLaMA-1.1B) as TinyGPT-V uses it: transformers' Llama with the paper's two norms.

Blocks are sequential, with an RMSNorm before attention and MLP, several query heads to a head of keys and values, and
SwiGLU. The paper names the model (tables 4 and 6) and not where its norms go; here they sit where Phi's do:
  - queries and keys pass a LayerNorm over a head's channels before the rotary embedding (QK-Norm);
  - the attention's output passes an RMSNorm before it joins the residual; Llama's own norm before the MLP stays.
Both can be left out, for the paper's ablation. ``input_norm`` names Llama's own two norms of a block.

Source: paper, section 3.1, equations 1 to 3; transformers' ``modeling_llama.py``.
Shapes: B batch, T tokens, D width, H heads, C channels of a head.
"""

from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import nn
from transformers import Cache
from transformers.modeling_outputs import BaseModelOutputWithPast
from transformers.models.llama.modeling_llama import (
    LlamaAttention,
    LlamaConfig,
    LlamaDecoderLayer,
    LlamaForCausalLM,
    LlamaMLP,
    LlamaModel,
    LlamaRotaryEmbedding,
)
from transformers.utils.generic import merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from tinygptv.model.language.interface import Architecture
from tinygptv.model.language.llama_files import FILES
from tinygptv.model.language.parts import TinyGPTVRMSNorm, attended, seen

if TYPE_CHECKING:
    from tinygptv.config import Model, Text


class TinyGPTVLlamaConfig(LlamaConfig):
    """Llama with LayerNorm on queries and keys and RMSNorm after the attention."""

    model_type = "tinygptv_llama"
    base_config_key = "text_config"
    base_model_tp_plan: ClassVar[dict[str, str]] = {}

    qk_layernorm: bool = True
    rms_norm: bool = True
    rms_norm_eps: float = 1e-5
    """Of Llama's own norms."""
    added_norm_eps: float = 1e-6
    """Of the RMSNorm after the attention, as in Phi."""
    layer_norm_eps: float = 1e-5
    """Of QK-Norm, as in Phi."""


class TinyGPTVLlamaAttention(LlamaAttention):
    """Causal self-attention with QK-Norm."""

    def __init__(self, config: TinyGPTVLlamaConfig, layer_idx: int) -> None:
        super().__init__(config, layer_idx)
        self.qk_layernorm = config.qk_layernorm
        if self.qk_layernorm:
            self.q_layernorm = nn.LayerNorm(self.head_dim, eps=config.layer_norm_eps)
            self.k_layernorm = nn.LayerNorm(self.head_dim, eps=config.layer_norm_eps)

    def forward(
        self,
        hidden_states: torch.Tensor,
        position_embeddings: tuple[torch.Tensor, torch.Tensor] | None = None,
        attention_mask: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Attend; the arguments and results are those of transformers' ``LlamaAttention``."""
        query_BTHC, key_BTHC, value_BTHC = (
            project(hidden_states).view(*hidden_states.shape[:-1], -1, self.head_dim)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        if self.qk_layernorm:
            query_BTHC, key_BTHC = self.q_layernorm(query_BTHC), self.k_layernorm(key_BTHC)
        assert position_embeddings is not None
        context_BTD, weights = attended(
            self, (query_BTHC, key_BTHC, value_BTHC), position_embeddings, attention_mask, past_key_values, **kwargs
        )
        return self.o_proj(context_BTD), weights


class TinyGPTVLlamaDecoderLayer(LlamaDecoderLayer):
    """y = x + RMSNorm(attention(norm(x))), then y + MLP(norm(y))."""

    def __init__(self, config: TinyGPTVLlamaConfig, layer_idx: int) -> None:
        super(LlamaDecoderLayer, self).__init__()
        self.hidden_size = config.hidden_size
        self.self_attn = TinyGPTVLlamaAttention(config, layer_idx)
        self.mlp = LlamaMLP(config)
        self.input_layernorm = TinyGPTVRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        norm = TinyGPTVRMSNorm(config.hidden_size, eps=config.added_norm_eps) if config.rms_norm else nn.Identity()
        self.post_layernorm: nn.Module = norm
        self.post_attention_layernorm = TinyGPTVRMSNorm(config.hidden_size, eps=config.rms_norm_eps)

    def forward(self, hidden_states: torch.Tensor, *_: Any, **kwargs: Any) -> torch.Tensor:
        """One block on ``hidden_states`` [B, T, D]."""
        attended_BTD, _ = self.self_attn(hidden_states=self.input_layernorm(hidden_states), **kwargs)
        hidden_BTD = hidden_states + self.post_layernorm(attended_BTD)
        return hidden_BTD + self.mlp(self.post_attention_layernorm(hidden_BTD))


class TinyGPTVLlamaModel(LlamaModel):
    """Llama's stack of blocks, made of ours."""

    config: TinyGPTVLlamaConfig
    _no_split_modules = ["TinyGPTVLlamaDecoderLayer"]  # noqa: RUF012 (the base's form)
    _can_record_outputs = {  # noqa: RUF012
        "hidden_states": TinyGPTVLlamaDecoderLayer,
        "attentions": TinyGPTVLlamaAttention,
    }

    def __init__(self, config: TinyGPTVLlamaConfig) -> None:
        super(LlamaModel, self).__init__(config)  # its own constructor would allocate blocks first
        self.padding_idx = config.pad_token_id
        self.vocab_size = config.vocab_size
        # Without `padding_idx`, which would hold back a gradient: the token that pads also ends texts.
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(TinyGPTVLlamaDecoderLayer(config, i) for i in range(config.num_hidden_layers))
        self.norm = TinyGPTVRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.rotary_emb = LlamaRotaryEmbedding(config=config)
        self.gradient_checkpointing = False
        self.post_init()

    @merge_with_config_defaults
    @capture_outputs
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        use_cache: bool | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPast:
        """The states behind the last norm; arguments and results are those of transformers' ``LlamaModel``.

        Samples in one row come with their positions and, as ``boundaries``, with where they are (``packed.py``).
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give input_ids or inputs_embeds, one of them")
        hidden_BTD = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        mask, position_ids, past_key_values = seen(
            self.config, hidden_BTD, attention_mask, position_ids, past_key_values, use_cache=use_cache
        )
        turns = self.rotary_emb(hidden_BTD, position_ids=position_ids)
        for block in self.layers:
            hidden_BTD = block(
                hidden_BTD,
                attention_mask=mask,
                position_ids=position_ids,
                past_key_values=past_key_values,
                use_cache=use_cache,
                position_embeddings=turns,
                **kwargs,
            )
        return BaseModelOutputWithPast(last_hidden_state=self.norm(hidden_BTD), past_key_values=past_key_values)


class TinyGPTVLlamaForCausalLM(LlamaForCausalLM):
    """The language model with its head, usable alone."""

    config: TinyGPTVLlamaConfig
    _no_split_modules = ["TinyGPTVLlamaDecoderLayer"]  # noqa: RUF012
    _tied_weights_keys: dict[str, str] = {}  # noqa: RUF012 (TinyLLaMA's head has its own weights)

    def __init__(self, config: TinyGPTVLlamaConfig) -> None:
        super(LlamaForCausalLM, self).__init__(config)
        self.model = TinyGPTVLlamaModel(config)
        self.vocab_size = config.vocab_size
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()


def sizes(model: "Model") -> dict[str, Any]:
    """The section ``model`` of a profile as keys of ``TinyGPTVLlamaConfig``."""
    text = model.text
    return {
        "vocab_size": text.vocab_size,
        "hidden_size": text.hidden_size,
        "intermediate_size": text.intermediate_size,
        "num_hidden_layers": text.num_hidden_layers,
        "num_attention_heads": text.num_attention_heads,
        "num_key_value_heads": text.num_key_value_heads,
        "max_position_embeddings": text.max_position_embeddings,
        "qk_layernorm": text.qk_norm,
        "rms_norm": text.rms_norm,
        "initializer_range": model.initializer_range,
    }


def cached(text: "Text") -> int:
    """A key and a value of every head that has its own."""
    own = text.num_key_value_heads or text.num_attention_heads
    return 2 * own * (text.hidden_size // text.num_attention_heads)


def normed(config: TinyGPTVLlamaConfig) -> bool:
    """Whether queries and keys pass their norm."""
    return config.qk_layernorm


LLAMA = Architecture(
    name="llama",
    model=TinyGPTVLlamaForCausalLM,
    config=TinyGPTVLlamaConfig,
    sizes=sizes,
    embedding="model.embed_tokens",
    blocks="model.layers",
    head="lm_head",
    lora_targets=tuple(f"self_attn.{part}_proj" for part in "qkvo"),  # the attention's, as in Phi
    mlp_targets=tuple(f"mlp.{part}_proj" for part in ("gate", "up", "down")),
    input_norm=("input_layernorm", "post_attention_layernorm"),
    qk_norm=("self_attn.q_layernorm", "self_attn.k_layernorm"),
    rms_norm=("post_layernorm",),
    final_norm="model.norm",
    formats=frozenset({"float32", "bfloat16"}),
    normed_formats=frozenset({"float32", "bfloat16", "float16"}),
    normed=normed,
    begin_of_text="<s>",
    end_of_text="</s>",
    family="Llama",
    files=FILES,
    cached=cached,
)
"""The paper's smallest language model."""

"""Phi as TinyGPT-V uses it.

Differences from transformers' Phi:
  - queries, keys and values come from one matrix, interleaved per head: [head, (q, k, v), channel];
  - queries and keys pass a LayerNorm over a head's channels before the rotary embedding (QK-Norm);
  - the attention's output passes an RMSNorm before it joins the parallel block; the MLP's branch does not.
Both norms can be left out, for the paper's ablation (table 4). What is computed in fewer operations than there, and
what that changes in the numbers, is in docs/speed.md.

Source: the authors' ``minigpt4/models/modeling_phi.py``; paper, section 3.1, equations 1 to 3.
Shapes: B batch, T tokens, D width, H heads, C channels of a head.
"""

from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import nn
from transformers import Cache
from transformers.modeling_outputs import BaseModelOutputWithPast
from transformers.models.phi.modeling_phi import (
    PhiAttention,
    PhiConfig,
    PhiDecoderLayer,
    PhiForCausalLM,
    PhiMLP,
    PhiModel,
    PhiRotaryEmbedding,
)
from transformers.utils.generic import merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from tinygptv.model.language.interface import Architecture
from tinygptv.model.language.parts import TinyGPTVRMSNorm, attended, seen
from tinygptv.model.language.phi_files import FILES

if TYPE_CHECKING:
    from tinygptv.config import Model, Text


class TinyGPTVTextConfig(PhiConfig):
    """Phi with LayerNorm on queries and keys, RMSNorm after the attention, and one fused qkv matrix."""

    model_type = "tinygptv_text"
    base_config_key = "text_config"
    base_model_tp_plan: ClassVar[dict[str, str]] = {}

    qk_layernorm: bool = True
    rms_norm: bool = True
    rms_norm_eps: float = 1e-6


class TinyGPTVAttention(PhiAttention):
    """Causal self-attention with a fused qkv matrix and QK-Norm."""

    def __init__(self, config: TinyGPTVTextConfig, layer_idx: int) -> None:
        super().__init__(config, layer_idx)
        assert config.num_key_value_heads == config.num_attention_heads, "fused qkv needs equal head counts"
        del self.q_proj, self.k_proj, self.v_proj
        self.query_key_value = nn.Linear(config.hidden_size, 3 * config.num_attention_heads * self.head_dim)

    def forward(
        self,
        hidden_states: torch.Tensor,
        position_embeddings: tuple[torch.Tensor, torch.Tensor],
        attention_mask: torch.Tensor | None,
        past_key_values: Cache | None = None,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Attend; the arguments and results are those of transformers' ``PhiAttention``."""
        # BTD -> BT(H 3 C) -> three BTHC
        fused = self.query_key_value(hidden_states).view(*hidden_states.shape[:-1], -1, 3, self.head_dim)
        query_BTHC, key_BTHC, value_BTHC = fused.unbind(dim=-2)
        if self.qk_layernorm:
            query_BTHC, key_BTHC = self.q_layernorm(query_BTHC), self.k_layernorm(key_BTHC)
        context_BTD, weights = attended(
            self, (query_BTHC, key_BTHC, value_BTHC), position_embeddings, attention_mask, past_key_values, **kwargs
        )
        return self.dense(context_BTD), weights


class TinyGPTVDecoderLayer(PhiDecoderLayer):
    """x + dropout(RMSNorm(attention(h))) + dropout(MLP(h)), where h = LayerNorm(x)."""

    def __init__(self, config: TinyGPTVTextConfig, layer_idx: int) -> None:
        super(PhiDecoderLayer, self).__init__()
        self.self_attn = TinyGPTVAttention(config, layer_idx)
        self.mlp = PhiMLP(config)
        if config.hidden_act == "gelu_new":
            self.mlp.activation_fn = nn.GELU(approximate="tanh")  # the same function, in one operation instead of seven
        self.input_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        norm = TinyGPTVRMSNorm(config.hidden_size, eps=config.rms_norm_eps) if config.rms_norm else nn.Identity()
        self.post_layernorm: nn.Module = norm
        self.resid_dropout = nn.Dropout(config.resid_pdrop)

    def forward(self, hidden_states: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        """One block on ``hidden_states`` [B, T, D]."""
        normed_BTD = self.input_layernorm(hidden_states)
        attended_BTD, _ = self.self_attn(hidden_states=normed_BTD, **kwargs)
        attended_BTD = self.resid_dropout(self.post_layernorm(attended_BTD))
        return attended_BTD + self.resid_dropout(self.mlp(normed_BTD)) + hidden_states


class TinyGPTVPhiModel(PhiModel):
    """Phi's stack of blocks, made of ours."""

    config: TinyGPTVTextConfig
    _no_split_modules = ["TinyGPTVDecoderLayer"]  # noqa: RUF012 (the base's form)
    _can_record_outputs = {"hidden_states": TinyGPTVDecoderLayer, "attentions": TinyGPTVAttention}  # noqa: RUF012

    def __init__(self, config: TinyGPTVTextConfig) -> None:
        # PhiModel's own constructor would allocate its blocks first: at full size 10 GB for nothing.
        super(PhiModel, self).__init__(config)
        self.padding_idx = config.pad_token_id
        self.vocab_size = config.vocab_size
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(TinyGPTVDecoderLayer(config, i) for i in range(config.num_hidden_layers))
        self.rotary_emb = PhiRotaryEmbedding(config=config)
        self.gradient_checkpointing = False
        self.embed_dropout = nn.Dropout(config.embd_pdrop)
        self.final_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
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
        """The states behind the last norm; arguments and results are those of transformers' ``PhiModel``.

        Samples in one row come with their positions and, as ``boundaries``, with where they are (``packed.py``).
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give input_ids or inputs_embeds, one of them")
        hidden_BTD = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        mask, position_ids, past_key_values = seen(
            self.config, hidden_BTD, attention_mask, position_ids, past_key_values, use_cache=use_cache
        )
        hidden_BTD = self.embed_dropout(hidden_BTD)
        turns = self.rotary_emb(hidden_BTD, position_ids=position_ids)
        if self.config.rms_norm:  # whose gain decides the residual's format: the first block is compiled as all others
            hidden_BTD = hidden_BTD.to(next(self.layers[0].get_submodule("post_layernorm").parameters()).dtype)
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
        return BaseModelOutputWithPast(
            last_hidden_state=self.final_layernorm(hidden_BTD), past_key_values=past_key_values
        )


class TinyGPTVPhiForCausalLM(PhiForCausalLM):
    """The language model with its head, usable alone."""

    config: TinyGPTVTextConfig
    _no_split_modules = ["TinyGPTVDecoderLayer"]  # noqa: RUF012
    _tied_weights_keys: dict[str, str] = {}  # noqa: RUF012 (Phi-2's head has its own weights)

    def __init__(self, config: TinyGPTVTextConfig) -> None:
        super(PhiForCausalLM, self).__init__(config)
        self.model = TinyGPTVPhiModel(config)
        self.vocab_size = config.vocab_size
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size)
        self.post_init()


def sizes(model: "Model") -> dict[str, Any]:
    """The section ``model`` of a profile as keys of ``TinyGPTVTextConfig``."""
    text = model.text
    return {
        "vocab_size": text.vocab_size,
        "hidden_size": text.hidden_size,
        "intermediate_size": text.intermediate_size,
        "num_hidden_layers": text.num_hidden_layers,
        "num_attention_heads": text.num_attention_heads,
        "partial_rotary_factor": text.partial_rotary_factor,
        "max_position_embeddings": text.max_position_embeddings,
        "resid_pdrop": text.resid_pdrop,
        "qk_layernorm": text.qk_norm,
        "rms_norm": text.rms_norm,
        "initializer_range": model.initializer_range,
    }


def normed(config: TinyGPTVTextConfig) -> bool:
    """Whether queries and keys pass their norm."""
    return config.qk_layernorm


def cached(text: "Text") -> int:
    """A key and a value of every head."""
    return 2 * text.hidden_size


PHI = Architecture(
    name="phi",
    model=TinyGPTVPhiForCausalLM,
    config=TinyGPTVTextConfig,
    sizes=sizes,
    embedding="model.embed_tokens",
    blocks="model.layers",
    head="lm_head",
    lora_targets=("self_attn.query_key_value", "self_attn.dense"),  # the MLP has none: minigpt4.py, lora_target_modules
    mlp_targets=(),
    input_norm=("input_layernorm",),
    qk_norm=("self_attn.q_layernorm", "self_attn.k_layernorm"),
    rms_norm=("post_layernorm",),
    final_norm="model.final_layernorm",
    formats=frozenset({"float32", "bfloat16"}),  # q·k of the published Phi-2 overflows in float16
    normed_formats=frozenset({"float32", "bfloat16", "float16"}),
    normed=normed,
    begin_of_text="<|endoftext|>",
    end_of_text="<|endoftext|>",
    family="Phi",
    files=FILES,
    cached=cached,
)
"""The paper's language model."""

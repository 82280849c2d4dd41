"""A language model that is nothing like Phi: other names, one branch after the other, separate queries, keys, values.

What a second architecture has to bring, and no more: a class with a head, a configuration, a description.
"""

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast

from tinygptv.model.language.interface import Architecture, PublishedFiles


class ToyConfig(PreTrainedConfig):
    """Sizes under transformers' names."""

    model_type = "toy_text"
    base_config_key = "text_config"

    vocab_size: int = 32
    hidden_size: int = 8
    intermediate_size: int = 16
    num_hidden_layers: int = 2
    num_attention_heads: int = 2
    max_position_embeddings: int = 64
    initializer_range: float = 0.02
    tanh_norm: bool = True
    branch_norm: bool = True


class ToyBlock(nn.Module):
    """x + norm(attention(norm(x))), then the same with an MLP."""

    def __init__(self, config: ToyConfig) -> None:
        super().__init__()
        width, self.heads = config.hidden_size, config.num_attention_heads
        self.before, self.between = nn.RMSNorm(width), nn.RMSNorm(width)
        self.look = nn.ModuleDict({name: nn.Linear(width, width, bias=False) for name in "qkvo"})
        norm = (lambda: nn.LayerNorm(width)) if config.tanh_norm else nn.Identity
        self.look_norms = nn.ModuleDict({"q": norm(), "k": norm()})
        self.branch = nn.RMSNorm(width) if config.branch_norm else nn.Identity()
        self.up = nn.Linear(width, config.intermediate_size, bias=False)
        self.down = nn.Linear(config.intermediate_size, width, bias=False)

    def forward(self, hidden_BTD: torch.Tensor) -> torch.Tensor:
        """One block."""
        normed_BTD = self.before(hidden_BTD)
        query, key, value = (self.look[name](normed_BTD) for name in "qkv")
        query, key = self.look_norms["q"](query).to(value), self.look_norms["k"](key).to(value)
        split = [part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (query, key, value)]
        context = nn.functional.scaled_dot_product_attention(*split, is_causal=True).transpose(1, 2).flatten(2)
        hidden_BTD = hidden_BTD + self.branch(self.look["o"](context))
        return hidden_BTD + self.down(self.up(self.between(hidden_BTD)).relu())


class ToyStack(nn.Module):
    """Embedding, blocks, norm."""

    def __init__(self, config: ToyConfig) -> None:
        super().__init__()
        self.words = nn.Embedding(config.vocab_size, config.hidden_size)
        self.floors = nn.ModuleList(ToyBlock(config) for _ in range(config.num_hidden_layers))
        self.roof = nn.RMSNorm(config.hidden_size)

    def forward(
        self, input_ids: torch.Tensor | None = None, inputs_embeds: torch.Tensor | None = None, **_: Any
    ) -> BaseModelOutputWithPast:
        """All blocks; no cache and no padding, which no test here needs."""
        hidden_BTD = self.words(input_ids) if inputs_embeds is None else inputs_embeds
        for floor in self.floors:
            hidden_BTD = floor(hidden_BTD)
        return BaseModelOutputWithPast(last_hidden_state=self.roof(hidden_BTD))


class ToyForCausalLM(PreTrainedModel):
    """With its head."""

    config: ToyConfig
    base_model_prefix = "house"

    def __init__(self, config: ToyConfig) -> None:
        super().__init__(config)
        self.house = ToyStack(config)
        self.tongue = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def get_decoder(self) -> nn.Module:
        """All but the head."""
        return self.house

    def get_input_embeddings(self) -> nn.Module:
        """The words."""
        return self.house.words

    def get_output_embeddings(self) -> nn.Module:
        """The head."""
        return self.tongue

    def forward(self, logits_to_keep: int = 0, **inputs: Any) -> CausalLMOutputWithPast:
        """Logits of all positions, or of the last ones."""
        hidden_BTD = self.house(**inputs).last_hidden_state
        return CausalLMOutputWithPast(logits=self.tongue(hidden_BTD[:, -logits_to_keep:]))


def sizes(model: Any) -> dict[str, Any]:
    """The section of a profile."""
    keys = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    return {key: getattr(model.text, key) for key in (*keys, "max_position_embeddings")} | {
        "initializer_range": model.initializer_range,
        "tanh_norm": model.text.qk_norm,
        "branch_norm": model.text.rms_norm,
    }


SAME = tuple(
    (f"{name}.weight", f"{name}.weight")
    for name in ("house.words", "house.roof", "tongue", *(f"house.floors.{{n}}.{p}" for p in ("before", "between")))
)
TOY = Architecture(
    name="toy",
    model=ToyForCausalLM,
    config=ToyConfig,
    sizes=sizes,
    embedding="house.words",
    blocks="house.floors",
    head="tongue",
    lora_targets=("look.q", "look.v", "down"),
    mlp_targets=(),
    input_norm=("before", "between"),
    qk_norm=("look_norms.q", "look_norms.k"),
    rms_norm=("branch",),
    final_norm="house.roof",
    formats=frozenset({"float32"}),
    normed_formats=frozenset({"float32", "bfloat16"}),
    normed=lambda config: config.tanh_norm,
    begin_of_text="<end>",
    end_of_text="<end>",
    family="Toy",
    files=PublishedFiles(
        model="Toy-1",
        layouts={
            "separate": (
                *SAME,
                *((f"floors.{{n}}.{m}.weight", f"house.floors.{{n}}.look.{m}.weight") for m in "qkvo"),
                *((f"floors.{{n}}.{m}.weight", f"house.floors.{{n}}.{m}.weight") for m in ("up", "down")),
            )
        },
        ambiguous=(),
        ignored=((r"floors\.\d+\.angles", "computed, not learned"),),
        plain=lambda names: {name: name for name in names},
        fused=None,
        inner="up",
        constants={"max_position_embeddings": 64},
        told=lambda tensors, heads: {},
    ),
    cached=lambda text: 2 * text.hidden_size,
)

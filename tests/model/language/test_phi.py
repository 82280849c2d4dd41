"""Phi beside transformers' own with the same weights, the additions switched off and on."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close
from transformers import PhiForCausalLM
from transformers.models.phi.modeling_phi import PhiAttention, PhiConfig, PhiRotaryEmbedding

from tests.model.twins import TEXT, our_text_config, randomise
from tinygptv.model import TinyGPTVPhiForCausalLM
from tinygptv.model.language.phi import TinyGPTVAttention


def split_fused(state: dict[str, torch.Tensor], heads: int) -> dict[str, torch.Tensor]:
    """The state of transformers' Phi: H3C rows of a fused matrix to three matrices of HC rows."""
    split = {}
    for name, tensor in state.items():
        head, found, tail = name.partition("query_key_value.")
        if not found:
            split[name] = tensor
            continue
        parts = tensor.unflatten(0, (heads, 3, -1)).unbind(1)
        for letter, part in zip("qkv", parts, strict=True):
            split[f"{head}{letter}_proj.{tail}"] = part.flatten(0, 1)
    return split


def test_attention_is_phi_attention_with_qk_layernorm() -> None:
    config = our_text_config()
    config._attn_implementation = "sdpa"
    ours = TinyGPTVAttention(config, 0).eval()
    randomise(ours)
    theirs = PhiAttention(PhiConfig(**TEXT, qk_layernorm=True, attn_implementation="sdpa"), 0).eval()
    theirs.load_state_dict(split_fused(ours.state_dict(), TEXT["num_attention_heads"]))
    hidden_BTD = torch.randn(2, 7, TEXT["hidden_size"])
    turns = PhiRotaryEmbedding(config)(hidden_BTD, torch.arange(7)[None])
    expected, _ = theirs(hidden_BTD, position_embeddings=turns, attention_mask=None)
    assert_close(ours(hidden_BTD, position_embeddings=turns, attention_mask=None)[0], expected)


@pytest.mark.parametrize("qk_norm", [True, False])
def test_without_the_rms_norm_the_language_model_is_phi(qk_norm: bool) -> None:
    ours = TinyGPTVPhiForCausalLM(our_text_config(qk_layernorm=qk_norm, rms_norm=False)).eval()
    whole = TinyGPTVPhiForCausalLM(our_text_config()).eval()
    randomise(whole)
    present = ours.state_dict().keys()
    assert {n.split(".")[-2] for n in whole.state_dict().keys() - present} == {
        "post_layernorm",
        *(() if qk_norm else ("q_layernorm", "k_layernorm")),
    }
    ours.load_state_dict({name: tensor for name, tensor in whole.state_dict().items() if name in present})
    theirs = PhiForCausalLM(PhiConfig(**TEXT, qk_layernorm=qk_norm)).eval()
    theirs.load_state_dict(split_fused(ours.state_dict(), TEXT["num_attention_heads"]))
    input_BT = torch.randint(0, 39, (2, 9))
    expected_BTV = theirs(input_ids=input_BT).logits
    assert_close(ours(input_ids=input_BT).logits, expected_BTV)
    assert (whole(input_ids=input_BT).logits - expected_BTV).abs().max() > 0.1

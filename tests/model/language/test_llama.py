"""Llama beside transformers' own with the additions off, and beside a slow literal transcription with them on."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.testing import assert_close
from transformers import LlamaConfig, LlamaForCausalLM

from tests.model.twins import randomise
from tinygptv.model.language.llama import TinyGPTVLlamaConfig, TinyGPTVLlamaForCausalLM

SIZES: dict[str, Any] = {
    "vocab_size": 40,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 2,
}
IDS_BT = torch.tensor([[1, 7, 9, 30, 2, 11, 5], [1, 3, 39, 2, 4, 4, 8]])


def ours(**changes: Any) -> TinyGPTVLlamaForCausalLM:
    model = TinyGPTVLlamaForCausalLM(TinyGPTVLlamaConfig(**SIZES, **changes)).eval()
    randomise(model)
    return model


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("shared", [1, 2, 4])
def test_without_the_additions_it_is_llama(attention: str, shared: int) -> None:
    config = SIZES | {"num_key_value_heads": shared, "attn_implementation": attention}
    model = TinyGPTVLlamaForCausalLM(TinyGPTVLlamaConfig(**config, qk_layernorm=False, rms_norm=False)).eval()
    randomise(model)
    theirs = LlamaForCausalLM(LlamaConfig(**config)).eval()
    theirs.load_state_dict(model.state_dict(), strict=True)
    padded_BT = torch.tensor([[1] * 7, [0, 0, *[1] * 5]])
    for mask_BT in (None, padded_BT):
        mine, other = (m(input_ids=IDS_BT, attention_mask=mask_BT).logits for m in (model, theirs))
        seen = slice(None) if mask_BT is None else mask_BT.bool()
        assert_close(mine[seen], other[seen], rtol=1e-6, atol=1e-6)  # the norm is one operation


def test_gradients_are_llama_s_too() -> None:
    model = ours(qk_layernorm=False, rms_norm=False)
    theirs = LlamaForCausalLM(LlamaConfig(**SIZES)).eval()
    theirs.load_state_dict(model.state_dict(), strict=True)
    for either in (model, theirs):
        either(input_ids=IDS_BT, labels=IDS_BT).loss.backward()
    for (name, mine), other in zip(model.named_parameters(), theirs.parameters(), strict=True):
        if "embed_tokens" not in name:  # transformers' table learns nothing of its padding
            assert_close(mine.grad, other.grad, rtol=1e-5, atol=1e-7, msg=name)


def rms(row_D: torch.Tensor, weight_D: torch.Tensor, eps: float) -> torch.Tensor:
    return weight_D * row_D / math.sqrt(sum(float(number) ** 2 for number in row_D) / len(row_D) + eps)


def layer_norm(row_C: torch.Tensor, weight_C: torch.Tensor, bias_C: torch.Tensor) -> torch.Tensor:
    mean = float(row_C.mean())
    return weight_C * (row_C - mean) / math.sqrt(float(((row_C - mean) ** 2).mean()) + 1e-5) + bias_C


def rotate(row_C: torch.Tensor, place: int) -> torch.Tensor:
    half = len(row_C) // 2
    turned = row_C.clone()
    for channel in range(half):
        angle = place / 10000 ** (2 * channel / len(row_C))
        one, two = row_C[channel], row_C[channel + half]
        turned[channel] = one * math.cos(angle) - two * math.sin(angle)
        turned[channel + half] = two * math.cos(angle) + one * math.sin(angle)
    return turned


def literal_logits(weights: dict[str, torch.Tensor], ids: list[int], *, qk: bool, branch: bool) -> torch.Tensor:
    """Equations 1 to 3 of the paper in Llama's block: head by head, token by token."""
    heads, shared = SIZES["num_attention_heads"], SIZES["num_key_value_heads"]
    channels = SIZES["hidden_size"] // heads
    rows_TD = [weights["model.embed_tokens.weight"][token] for token in ids]
    for layer in range(SIZES["num_hidden_layers"]):
        own = {n.removeprefix(f"model.layers.{layer}."): t for n, t in weights.items()}
        queries: list[list[torch.Tensor]] = []
        keys: list[list[torch.Tensor]] = []
        values: list[list[torch.Tensor]] = []
        after_TD = []
        for place, row_D in enumerate(rows_TD):
            normed_D = rms(row_D, own["input_layernorm.weight"], 1e-5)
            parts = {
                part: (own[f"self_attn.{part}_proj.weight"] @ normed_D).split(channels) for part in ("q", "k", "v")
            }
            for part, kept in (("q", queries), ("k", keys)):
                rows = parts[part]
                if qk:
                    norm = f"self_attn.{part}_layernorm"
                    rows = [layer_norm(row, own[f"{norm}.weight"], own[f"{norm}.bias"]) for row in rows]
                kept.append([rotate(row, place) for row in rows])
            values.append(list(parts["v"]))
            context = []
            for head in range(heads):
                group = head // (heads // shared)
                scores = [float(queries[place][head] @ keys[t][group]) / math.sqrt(channels) for t in range(place + 1)]
                total = sum(math.exp(score) for score in scores)
                context.append(sum(math.exp(score) / total * values[t][group] for t, score in enumerate(scores)))
            attended_D = own["self_attn.o_proj.weight"] @ torch.cat(context)
            if branch:
                attended_D = rms(attended_D, own["post_layernorm.weight"], 1e-6)
            after_TD.append(row_D + attended_D)
        rows_TD = []
        for row_D in after_TD:
            normed_D = rms(row_D, own["post_attention_layernorm.weight"], 1e-5)
            gate, up = (own[f"mlp.{part}_proj.weight"] @ normed_D for part in ("gate", "up"))
            rows_TD.append(row_D + own["mlp.down_proj.weight"] @ (gate / (1 + (-gate).exp()) * up))
    normed = [rms(row_D, weights["model.norm.weight"], 1e-5) for row_D in rows_TD]
    return torch.stack([weights["lm_head.weight"] @ row_D for row_D in normed])


@pytest.mark.parametrize(("qk", "branch"), [(True, True), (True, False), (False, True)])
def test_the_additions_sit_where_the_transcription_has_them(qk: bool, branch: bool) -> None:
    model = ours(qk_layernorm=qk, rms_norm=branch).double()
    for row_BT, found in zip(IDS_BT.tolist(), model(input_ids=IDS_BT).logits, strict=True):
        expected = literal_logits(model.state_dict(), row_BT, qk=qk, branch=branch)
        assert_close(found, expected, rtol=1e-6, atol=1e-6)


def test_the_cache_gives_what_the_whole_sequence_gives() -> None:
    model = ours()
    whole = model(input_ids=IDS_BT).logits
    seen = model(input_ids=IDS_BT[:, :4], use_cache=True)
    rest = model(input_ids=IDS_BT[:, 4:], past_key_values=seen.past_key_values)
    assert_close(torch.cat([seen.logits, rest.logits], dim=1), whole)


def test_the_token_that_pads_learns_as_the_end_of_texts() -> None:
    model = ours()
    model(input_ids=IDS_BT, labels=IDS_BT).loss.backward()
    assert model.get_input_embeddings().weight.grad[SIZES["pad_token_id"]].abs().max() > 0

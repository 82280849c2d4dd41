"""The model computes what the authors' code computes, to 3e-5, and deliberate mistakes are noticed.

The files of ``tests/golden`` were made by the authors' unmodified code (tests/golden/README.md).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import Blip2QFormerConfig, Blip2VisionConfig

from tinygptv.config import Lora
from tinygptv.data.prompts import IGNORE_INDEX
from tinygptv.model import TinyGPTVConfig, TinyGPTVForConditionalGeneration, TinyGPTVTextConfig
from tinygptv.model.adapters import add_lora, merge_lora, own_name

GOLDEN = Path(__file__).parents[1] / "golden"
CASES = ("v2_stage4_conv", "mg4_stage3_lora")
TOLERANCE = 3e-5
SLOT = -200

Mistake = Callable[[TinyGPTVForConditionalGeneration], None]


@dataclass(frozen=True, slots=True)
class Golden:
    """One case with everything read."""

    facts: dict[str, Any]
    inputs: dict[str, torch.Tensor]
    expected: dict[str, torch.Tensor]
    model: TinyGPTVForConditionalGeneration
    pixels_BCHW: torch.Tensor
    features_BQD: torch.Tensor


def our_config(facts: dict[str, Any], weights: dict[str, torch.Tensor]) -> TinyGPTVConfig:
    vit, qformer, phi = (facts["dims"][part] for part in ("vit", "qformer", "phi"))
    return TinyGPTVConfig(
        vision_config=Blip2VisionConfig(
            image_size=224,  # the positions are learned at 224 px and interpolated above
            patch_size=14,
            hidden_size=vit["embed_dim"],
            num_hidden_layers=vit["depth"],
            num_attention_heads=vit["num_heads"],
            intermediate_size=len(weights["vision.blocks.0.mlp.fc1.bias"]),
        ),
        qformer_config=Blip2QFormerConfig(**qformer),
        text_config=TinyGPTVTextConfig(
            **phi,
            partial_rotary_factor=facts["rope"]["partial_rotary_factor"],
            bos_token_id=facts["bos"],
            eos_token_id=facts["eos"],
            pad_token_id=facts["pad"],
        ),
        num_query_tokens=facts["num_query_tokens"],
        projection_size=len(weights["ckpt.llama_proj.bias"]),
    )


def translate(name: str) -> str | None:
    """The authors' name as ours; None for tensors that the model does not have."""
    rules = (
        (r"phi\.(.*)", r"language_model.\1"),
        (r"ckpt\.llama_model\.base_model\.model\.(.*)", r"language_model.\1"),
        (r"ckpt\.llama_proj\.(.*)", r"projector.linear_1.\1"),
        (r"ckpt\.llama_proj2\.(.*)", r"projector.linear_2.\1"),
        (r"vision\.cls_token", "image_encoder.vision_model.embeddings.class_embedding"),
        (r"vision\.pos_embed", "image_encoder.vision_model.embeddings.position_embedding"),
        (r"vision\.patch_embed\.proj\.(.*)", r"image_encoder.vision_model.embeddings.patch_embedding.\1"),
        (r"vision\.blocks\.(\d+)\.norm([12])\.(.*)", r"image_encoder.vision_model.encoder.layers.\1.layer_norm\2.\3"),
        (r"vision\.blocks\.(\d+)\.attn\.qkv\.(.*)", r"image_encoder.vision_model.encoder.layers.\1.self_attn.qkv.\2"),
        (
            r"vision\.blocks\.(\d+)\.attn\.proj\.(.*)",
            r"image_encoder.vision_model.encoder.layers.\1.self_attn.projection.\2",
        ),
        (r"vision\.blocks\.(\d+)\.mlp\.(.*)", r"image_encoder.vision_model.encoder.layers.\1.mlp.\2"),
        (r"qformer\.ln_vision\.(.*)", r"image_encoder.vision_model.post_layernorm.\1"),
        (r"qformer\.query_tokens", "image_encoder.query_tokens"),
        (r"qformer\.Qformer\.bert\.embeddings\.LayerNorm\.(.*)", r"image_encoder.qformer.layernorm.\1"),
        (
            r"qformer\.Qformer\.bert\.encoder\.layer\.(\d+)\.(cross)?attention\.self\.(.*)",
            r"image_encoder.qformer.encoder.layer.\1.\2attention.attention.\3",
        ),
        (
            r"qformer\.Qformer\.bert\.encoder\.layer\.(\d+)\.((?:cross)?attention\.output|\w+_query)\.(.*)",
            r"image_encoder.qformer.encoder.layer.\1.\2.\3",
        ),
    )
    for pattern, replacement in rules:
        if match := re.fullmatch(pattern, name):
            return match.expand(replacement)
    return None


def translate_all(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    ours = {}
    for name, tensor in weights.items():  # ckpt comes first in the alphabet, and must win
        if (own := translate(name)) is not None and own not in ours:
            ours[own] = tensor
        if name.endswith(".q_bias"):
            block = re.fullmatch(r"vision\.blocks\.(\d+)\.attn\.q_bias", name)
            assert block
            value = weights[name.replace("q_bias", "v_bias")]
            bias = torch.cat([tensor, torch.zeros_like(value), value])
            ours[f"image_encoder.vision_model.encoder.layers.{block[1]}.self_attn.qkv.bias"] = bias
    return ours


def load_golden(case: str) -> Golden:
    folder = GOLDEN / case
    facts = json.loads((folder / "case.json").read_text())
    weights = dict(sorted(load_file(folder / "weights.safetensors").items()))
    model = TinyGPTVForConditionalGeneration(our_config(facts, weights)).eval()
    add_lora(model, Lora(rank=facts["lora_r"], alpha=facts["lora_alpha"], dropout=0.0))
    ours = translate_all(weights)
    places = {own_name(name): place for name, place in model.state_dict().items()}
    missing = places.keys() - ours.keys()
    if not facts["base_has_norms"]:  # Phi-2 as published: the biases of the new norms start, and stay, at zero
        missing = {name for name in missing if not re.search(r"self_attn\.[qk]_layernorm\.bias", name)}
    assert not missing
    assert not ours.keys() - places.keys()
    for name, tensor in ours.items():
        with torch.no_grad():
            places[name].copy_(tensor.view_as(places[name]))
    inputs, expected = load_file(folder / "inputs.safetensors"), load_file(folder / "expected.safetensors")
    inputs["input_ids"] = inputs["input_ids"].masked_fill(inputs["input_ids"] == SLOT, model.config.image_token_id)
    how = facts["images"]
    pixels_BCHW = torch.randn(how["shape"], generator=torch.Generator().manual_seed(how["generator_seed"]))
    with torch.inference_mode():
        features_BQD = model.image_encoder(pixels_BCHW)
    return Golden(facts, inputs, expected, model, pixels_BCHW, features_BQD)


@pytest.fixture(scope="module", params=CASES)
def golden(request: pytest.FixtureRequest) -> Golden:
    """Read only."""
    return load_golden(request.param)


@pytest.fixture(scope="module")
def small_golden() -> Golden:
    """The case at 224 pixels, for mistakes. Read only."""
    return load_golden("mg4_stage3_lora")


@torch.inference_mode()
def largest_errors(
    golden: Golden, model: TinyGPTVForConditionalGeneration, features_BQD: torch.Tensor
) -> dict[str, float]:
    """Largest absolute difference to what the authors' code gave; padding is left out."""
    attended_BT, labels_BT = golden.inputs["attention_mask"].bool(), golden.inputs["labels"]
    output = model(**golden.inputs, image_features=features_BQD)
    logits_BTV = output.logits
    nll_BT = nn.functional.cross_entropy(
        logits_BTV[:, :-1].transpose(1, 2), labels_BT[:, 1:], ignore_index=IGNORE_INDEX, reduction="none"
    )
    learned_BT = labels_BT[:, 1:] != IGNORE_INDEX
    expected = golden.expected
    return {
        "visual": (model.projector(features_BQD) - expected["visual_tokens"]).abs().max().item(),
        "logits": (logits_BTV - expected["logits"])[attended_BT].abs().max().item(),
        "nll": (nll_BT - expected["token_nll"])[learned_BT].abs().max().item(),
        "loss": abs(output.loss.item() - golden.facts["loss"]),
    }


def test_visual_tokens_logits_and_losses_are_the_authors(golden: Golden) -> None:
    errors = largest_errors(golden, golden.model, golden.features_BQD)
    assert max(errors.values()) < TOLERANCE, errors


def test_merged_adapters_give_the_same(golden: Golden) -> None:
    merged = deepcopy(golden.model)
    merge_lora(merged)
    errors = largest_errors(golden, merged, golden.features_BQD)
    assert max(errors.values()) < TOLERANCE, errors


@pytest.mark.parametrize("use_cache", [True, False])
def test_greedy_tokens_are_the_authors(golden: Golden, use_cache: bool) -> None:
    rows = golden.facts["gen_input_ids"]
    longest, slot = max(map(len, rows)), golden.model.config.image_token_id
    ids_BT = torch.tensor([[golden.facts["pad"]] * (longest - len(row)) + row for row in rows])
    mask_BT = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
    expected_BT = golden.expected["gen_tokens"]
    output_BT = golden.model.generate(
        input_ids=ids_BT.masked_fill(ids_BT == SLOT, slot),
        attention_mask=mask_BT,
        image_features=golden.features_BQD,
        do_sample=False,
        max_new_tokens=expected_BT.shape[1],
        use_cache=use_cache,
    )
    assert output_BT[:, longest:].tolist() == expected_BT.tolist()


def no_rms_norm(model: TinyGPTVForConditionalGeneration) -> None:
    for layer in model.language_model.model.layers:
        layer.post_layernorm = nn.Identity()


def no_q_norm(model: TinyGPTVForConditionalGeneration) -> None:
    for layer in model.language_model.model.layers:
        layer.self_attn.q_layernorm = nn.Identity()


def thirds_of_qkv(model: TinyGPTVForConditionalGeneration) -> None:
    """The layout of Microsoft's first Phi-2 files: q, k, v one after the other."""
    heads = model.config.text_config.num_attention_heads
    for layer in model.language_model.model.layers:
        fused = layer.self_attn.query_key_value.base_layer
        for parameter in (fused.weight, fused.bias):
            parts = parameter.data.unflatten(0, (3, heads, -1)).transpose(0, 1)  # 3HC -> H3C
            parameter.data = parts.flatten(0, 2).contiguous()


def no_query_bias(model: TinyGPTVForConditionalGeneration) -> None:
    for layer in model.image_encoder.vision_model.encoder.layers:
        layer.self_attn.qkv.bias.data[: layer.self_attn.embed_dim] = 0.0


def doubled_lora_scale(model: TinyGPTVForConditionalGeneration) -> None:
    for layer in model.language_model.model.layers:
        layer.self_attn.dense.scaling["default"] *= 2


def fewer_channels_rotate(model: TinyGPTVForConditionalGeneration) -> None:
    for layer in model.language_model.model.layers:
        layer.self_attn.rotary_ndims -= 2
    rotary = model.language_model.model.rotary_emb
    rotary.inv_freq = rotary.inv_freq[:-1]


def test_a_mistake_in_the_image_encoder_is_noticed(small_golden: Golden) -> None:
    # A wrong eps of ln_vision (1e-6 for 1e-5) is not to be seen here: the variances of these files are above 1, so that
    # it changes the visual tokens by 3e-7. test_parity.py has a test of its own for it.
    model = deepcopy(small_golden.model)
    no_query_bias(model)
    with torch.inference_mode():
        features_BQD = model.image_encoder(small_golden.pixels_BCHW)
    assert largest_errors(small_golden, model, features_BQD)["visual"] > TOLERANCE


@pytest.mark.parametrize("mistake", [no_rms_norm, no_q_norm, thirds_of_qkv, doubled_lora_scale, fewer_channels_rotate])
def test_a_mistake_in_the_language_model_is_noticed(small_golden: Golden, mistake: Mistake) -> None:
    model = deepcopy(small_golden.model)
    mistake(model)
    errors = largest_errors(small_golden, model, small_golden.features_BQD)
    assert errors["logits"] > TOLERANCE
    assert errors["nll"] > TOLERANCE

"""Adapters and the table of what trains."""

from __future__ import annotations

import re
from collections.abc import Callable
from copy import deepcopy
from typing import get_args

import pytest
import torch
from torch.testing import assert_close

from tinygptv.config import Config, Part
from tinygptv.ground.errors import CheckpointError
from tinygptv.model.adapters import (
    GROUPS,
    add_lora,
    freeze,
    has_lora,
    load_tensors,
    merge_lora,
    own_name,
    trainable_parameters,
    trainable_state,
)
from tinygptv.model.modeling import TinyGPTVForConditionalGeneration

MakeModel = Callable[..., TinyGPTVForConditionalGeneration]
NORMS = ("input_norm", "qk_norm", "rms_norm", "final_norm")
INPUT = {"input_ids": torch.tensor([[5, 1024, 1024, 1024, 1024, 7, 300, 12]])}


@pytest.fixture
def model(make_model: MakeModel, smoke: Config) -> TinyGPTVForConditionalGeneration:
    """With adapters that do something: B starts at zero in PEFT."""
    tiny = make_model()
    add_lora(tiny, smoke.model.lora)
    for name, parameter in tiny.named_parameters():
        if ".lora_B." in name:
            torch.nn.init.normal_(parameter, std=0.3)
    return tiny.eval()  # PEFT's dropout starts in training mode


def features() -> torch.Tensor:
    return torch.randn(1, 4, 32, generator=torch.Generator().manual_seed(2))


def logits(model: TinyGPTVForConditionalGeneration) -> torch.Tensor:
    with torch.inference_mode():
        return model(**INPUT, image_features=features()).logits


def test_the_stages_train_what_the_paper_trains(smoke: Config) -> None:
    assert [smoke.stage(f"stage{i}").trainable for i in (1, 2, 3, 4)] == [
        ("projection", *NORMS),
        *[("projection", *NORMS, "lora")] * 3,
    ]


@pytest.mark.drill(22, "what trains is what the configuration names, and nothing else")
@pytest.mark.parametrize("groups", [("projection",), ("projection", *NORMS), ("projection", *NORMS, "lora")])
def test_the_table_is_a_partition_and_the_only_gradients(
    model: TinyGPTVForConditionalGeneration, groups: tuple[str, ...]
) -> None:
    table = freeze(model, groups)
    assert tuple(table.trainable) == groups
    assert table.total_trainable + table.frozen == sum(p.numel() for p in model.parameters())
    assert table.total_trainable == sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert f"trainable {table.total_trainable:,}" in str(table)


LAYER = "language_model.model.layers.0"
OF_PART = {
    "input_norm": {f"{LAYER}.input_layernorm.weight"},
    "qk_norm": {f"{LAYER}.self_attn.q_layernorm.weight", f"{LAYER}.self_attn.k_layernorm.weight"},
    "rms_norm": {f"{LAYER}.post_layernorm.weight"},
    "final_norm": {"language_model.model.final_layernorm.weight"},
    "norm_biases": {
        f"{LAYER}.input_layernorm.bias",
        f"{LAYER}.self_attn.q_layernorm.bias",
        f"{LAYER}.self_attn.k_layernorm.bias",
        "language_model.model.final_layernorm.bias",
    },
}


@pytest.mark.parametrize("part", OF_PART)
def test_norms_train_by_kind(model: TinyGPTVForConditionalGeneration, part: str) -> None:
    freeze(model, (part,))
    assert set(trainable_parameters(model)) == OF_PART[part]


def test_every_part_of_the_configuration_is_a_group() -> None:
    assert set(GROUPS) == set(get_args(Part))


def test_adapters_sit_on_the_attention_only(model: TinyGPTVForConditionalGeneration) -> None:
    freeze(model, ("lora",))
    names = {re.sub(r"\.layers\.\d+", "", name) for name in trainable_parameters(model)}
    attention = "language_model.model.self_attn"
    assert names == {f"{attention}.{m}.lora_{x}.weight" for m in ("query_key_value", "dense") for x in "AB"}


def test_trained_tensors_become_float32(model: TinyGPTVForConditionalGeneration) -> None:
    model.bfloat16()
    freeze(model, (*NORMS, "lora"))
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}
    assert {p.dtype for p in model.parameters() if not p.requires_grad} == {torch.bfloat16}


@pytest.mark.drill(22, "what trains is what the configuration names, and nothing else")
def test_a_group_without_parameters_is_refused(make_model: MakeModel) -> None:
    with pytest.raises(CheckpointError, match="trainable names lora"):
        freeze(make_model(), ("projection", "lora"))


@pytest.mark.drill(22, "what trains is what the configuration names, and nothing else")
def test_a_step_leaves_the_frozen_weights_alone(model: TinyGPTVForConditionalGeneration) -> None:
    freeze(model, ("projection", *NORMS, "lora"))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    model(
        **INPUT,
        labels=INPUT["input_ids"].masked_fill(INPUT["input_ids"] == 1024, -100),
        image_features=features(),
        use_cache=False,
    ).loss.backward()
    optimizer.step()
    for name, parameter in model.named_parameters():
        assert torch.equal(before[name], parameter) != parameter.requires_grad, name


def test_merging_changes_no_logits(model: TinyGPTVForConditionalGeneration) -> None:
    merged = deepcopy(model)
    merge_lora(merged)
    assert has_lora(model)
    assert not has_lora(merged)
    assert {n for n, _ in merged.named_parameters()} == {
        own_name(n) for n, _ in model.named_parameters() if ".lora_" not in n
    }
    assert_close(logits(merged), logits(model))


def test_fresh_adapters_change_no_logits(make_model: MakeModel, smoke: Config) -> None:
    model = make_model()
    before = logits(model)
    add_lora(model, smoke.model.lora)
    assert torch.equal(logits(model), before)


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("a.dense.base_layer.weight", "a.dense.weight"),
        ("a.dense.base_layer.bias", "a.dense.bias"),
        ("a.dense.lora_A.default.weight", "a.dense.lora_A.weight"),
        ("a.dense.lora_B.weight", "a.dense.lora_B.weight"),
        ("a.default.weight", "a.default.weight"),
    ],
)
def test_own_names(name: str, own: str) -> None:
    assert own_name(name) == own


def test_trained_tensors_go_round(
    model: TinyGPTVForConditionalGeneration, make_model: MakeModel, smoke: Config
) -> None:
    freeze(model, ("projection", *NORMS, "lora"))
    other = make_model()  # the same frozen weights
    add_lora(other, smoke.model.lora)
    other.eval()
    load_tensors(other, trainable_state(model), "a file")
    assert torch.equal(logits(other), logits(model))


def test_unknown_and_misshapen_tensors_are_refused(model: TinyGPTVForConditionalGeneration) -> None:
    with pytest.raises(CheckpointError, match=r"a file: tensor projector\.linear_3\.bias has no place"):
        load_tensors(model, {"projector.linear_3.bias": torch.zeros(3)}, "a file")
    with pytest.raises(CheckpointError, match=r"projector\.linear_1\.bias has shape \(3,\), the model needs \(64,\)"):
        load_tensors(model, {"projector.linear_1.bias": torch.zeros(3)}, "a file")


def test_adapters_are_merged_in_float32_and_rounded_once(model: TinyGPTVForConditionalGeneration) -> None:
    for layer in model.language_model.model.layers:
        layer.self_attn.dense.base_layer.bfloat16()
    adapted = model.language_model.model.layers[0].self_attn.dense
    expected = (adapted.base_layer.weight.float() + adapted.get_delta_weight("default")).bfloat16()
    merge_lora(model)
    merged = model.language_model.model.layers[0].self_attn.dense.weight
    assert_close(merged, expected, rtol=0, atol=0)

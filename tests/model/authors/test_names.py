"""Names translate in both directions, and no two of theirs become one of ours."""

from __future__ import annotations

import pytest

from tinygptv.model.authors import names
from tinygptv.model.language import phi_files
from tinygptv.model.language.interface import Rules

RULES = {
    "eva": names.EVA,
    "qformer": names.QFORMER,
    "interleaved": phi_files.OWN,
    "separate": phi_files.SEPARATE,
    "microsoft": phi_files.MICROSOFT,
    "checkpoint": names.CHECKPOINT,
}


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
def test_rules_go_back_and_forth(rules: Rules) -> None:
    for theirs, ours in rules:
        name = theirs.replace("{n}", "17").replace("{p}", "bias")
        target = names.translate(name, rules)
        assert target == ours.replace("{n}", "17").replace("{p}", "bias")
        assert names.translate(target, names.reverse(rules)) == name


def test_a_name_must_fit_as_a_whole() -> None:
    for name in ("model.layers.x.mlp.fc1.weight", "model.layers.1.mlp.fc1.weight.scale", "a.lm_head.bias", "lm_head.b"):
        assert names.translate(name, phi_files.OWN) is None


@pytest.mark.parametrize(
    "name",
    [
        "llama_model.base_model.model.model.layers.2.self_attn.dense.lora_A.weight",
        "llama_model.base_model.model.model.layers.2.self_attn.dense.lora_A.default.weight",
        "llama_model.model.layers.2.self_attn.dense.lora_A.weight",
    ],
)
def test_versions_of_peft_differ_in_names_alone(name: str) -> None:
    plain = names.plain_checkpoint_name(name)
    ours = "language_model.model.layers.2.self_attn.dense.lora_A.weight"
    assert names.translate(plain, names.CHECKPOINT) == ours
    assert names.checkpoint_name(ours, lora=True).startswith("llama_model.base_model.model.model.layers.2.")


def test_a_wrapped_weight_is_the_base_layers() -> None:
    name = "llama_model.base_model.model.model.layers.0.self_attn.query_key_value.base_layer.weight"
    assert names.plain_checkpoint_name(name) == "llama_model.model.layers.0.self_attn.query_key_value.weight"

"""Names translate in both directions, and no two of theirs become one of ours."""

from __future__ import annotations

import pytest

from tinygptv.model.authors import names

RULES = {
    "eva": names.EVA,
    "qformer": names.QFORMER,
    "phi": names.PHI,
    "separate": names.PHI_SEPARATE,
    "microsoft": names.MICROSOFT,
    "checkpoint": names.CHECKPOINT,
}


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
def test_rules_go_back_and_forth(rules: names.Rules) -> None:
    for theirs, ours in rules:
        name = theirs.replace("{n}", "17").replace("{p}", "bias")
        target = names.translate(name, rules)
        assert target == ours.replace("{n}", "17").replace("{p}", "bias")
        assert names.translate(target, names.reverse(rules)) == name


def test_a_name_must_fit_as_a_whole() -> None:
    for name in ("model.layers.x.mlp.fc1.weight", "model.layers.1.mlp.fc1.weight.scale", "a.lm_head.bias", "lm_head.b"):
        assert names.translate(name, names.PHI) is None


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


def test_microsofts_first_files_count_from_the_embedding_to_the_head() -> None:
    theirs = ["layers.0.wte.weight", "layers.1.ln.bias", "layers.2.mixer.Wqkv.weight", "layers.3.ln.weight"]
    plain = names.unroll_sequential([*theirs, "layers.3.linear.weight", "layers.3.linear.bias"])
    assert list(plain.values()) == [
        "transformer.embd.wte.weight",
        "transformer.h.0.ln.bias",
        "transformer.h.1.mixer.Wqkv.weight",
        "lm_head.ln.weight",
        "lm_head.linear.weight",
        "lm_head.linear.bias",
    ]
    assert names.unroll_sequential(["transformer.h.0.ln.bias"]) == {
        "transformer.h.0.ln.bias": "transformer.h.0.ln.bias"
    }

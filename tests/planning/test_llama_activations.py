"""The plan's activations of Llama beside what torch saves."""

from __future__ import annotations

from typing import Any

import pytest

from tests.planning.test_activations import AsOnCuda, planned, without

LLAMA: dict[str, Any] = {"text__architecture": "llama", "text__resid_pdrop": 0.0, "text__num_key_value_heads": 2}
FORMS: dict[str, dict[str, Any]] = {
    "plain": {},
    "one block": {"text__num_hidden_layers": 1},
    "one head of keys": {"text__num_key_value_heads": 1},
    "as many keys as queries": {"text__num_key_value_heads": None},
    "long": {"max_sequence_tokens": 120},
    "alone": {"micro_batch_size": 1},
    "no adapters": {"trainable": without("lora")},
    "no dropout on adapters": {"lora__dropout": 0.0},
    "adapters on the MLP": {"lora__mlp": True},
    "without dropout": {"lora__mlp": True, "lora__dropout": 0.0},
    "no qk norm": {"text__qk_norm": False, "trainable": without("qk_norm")},
    "no rms norm": {"text__rms_norm": False, "trainable": without("rms_norm")},
    "frozen norms": {"trainable": ("projection", "lora")},
    "frozen input norms": {"trainable": without("input_norm")},
    "checkpointing": {"gradient_checkpointing": True},
    "label only": {"label_only_logits": True},
    "8 bits": {"base_8bit": True},
    "all levers": {"gradient_checkpointing": True, "label_only_logits": True, "base_8bit": True},
}


def tolerance(stage) -> float:
    """As Phi's; all channels rotate, and checkpointing holds the turns where torch's hooks do not look."""
    return 0.02 if stage.gradient_checkpointing or stage.label_only_logits else 0.0


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("form", FORMS)
def test_the_formula_counts_what_torch_saves(training, form, dtype):
    made = training(**{**LLAMA, **FORMS[form]}, runtime__dtype=dtype)
    plan = planned(made.config)
    assert plan.saved + plan.loss == pytest.approx(made.kept(), rel=tolerance(made.stage), abs=16)


@pytest.mark.parametrize("form", FORMS)
def test_the_rules_of_cuda_are_those_of_its_autocast(training, form):
    made = training(**{**LLAMA, **FORMS[form]}, runtime__dtype="bfloat16")
    plan = planned(made.config, "cuda")
    with AsOnCuda():
        assert plan.saved + plan.loss == pytest.approx(made.kept(), rel=tolerance(made.stage), abs=16)

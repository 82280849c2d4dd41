"""The plan's activations beside what torch saves."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode

from tinygptv.model.language import of_profile
from tinygptv.planning.activations import activations, longest_pass

STAGE = "stage3"
PARTS = ("projection", "input_norm", "qk_norm", "rms_norm", "final_norm", "lora")


def without(*parts: str) -> tuple[str, ...]:
    return tuple(part for part in PARTS if part not in parts)


def planned(config, device="cpu"):
    stage = config.stage(STAGE)
    return activations(config, longest_pass(config, stage, device, adapters="lora" in stage.trainable))


FORMS: dict[str, dict[str, Any]] = {
    "plain": {},
    "one block": {"text__num_hidden_layers": 1},
    "long": {"max_sequence_tokens": 120},
    "alone": {"micro_batch_size": 1},
    "no adapters": {"trainable": without("lora")},
    "no dropout on adapters": {"lora__dropout": 0.0},
    "no dropout": {"text__resid_pdrop": 0.0, "lora__dropout": 0.0},
    "no qk norm": {"text__qk_norm": False, "trainable": without("qk_norm")},
    "no rms norm": {"text__rms_norm": False, "trainable": without("rms_norm")},
    "frozen norms": {"trainable": ("projection", "lora")},
    "checkpointing": {"gradient_checkpointing": True},
    "label only": {"label_only_logits": True},
    "8 bits": {"base_8bit": True},
    "8 bits, no adapters": {"base_8bit": True, "trainable": without("lora")},
    "all levers": {"gradient_checkpointing": True, "label_only_logits": True, "base_8bit": True},
}


def tolerance(stage) -> float:
    """Exact but for scalars; with the levers, but for what a padded token does not need and two small tensors."""
    return 0.015 if stage.gradient_checkpointing or stage.label_only_logits else 0.0


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("form", FORMS)
def test_the_formula_counts_what_torch_saves(training, form, dtype):
    made = training(**FORMS[form], runtime__dtype=dtype)
    plan = planned(made.config)
    assert plan.saved + plan.loss == pytest.approx(made.kept(), rel=tolerance(made.stage), abs=16)


class AsOnCuda(TorchFunctionMode):
    """What differs on CUDA: autocast's operations in float32, and flags as dropout's mask."""

    IN_FLOAT32 = (torch.nn.functional.layer_norm, torch.pow, torch.Tensor.pow, torch.rsqrt)

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is torch.nn.functional.dropout:
            given, p = args[0], kwargs["p"]
            mask = torch.rand_like(given, dtype=torch.float32) > p
            return given * mask * (1 / (1 - p)) if p else given
        if func in self.IN_FLOAT32 and torch.is_autocast_enabled("cpu"):
            args = tuple(a.float() if isinstance(a, torch.Tensor) and a.dtype == torch.bfloat16 else a for a in args)
        return func(*args, **kwargs)


# Without dropout and autocast the CPU's attention gives a context that has to be put in order; CUDA's does not.
CUDA_FORMS = [*((form, "bfloat16") for form in FORMS), ("plain", "float32"), ("checkpointing", "float32")]


@pytest.mark.parametrize(("form", "dtype"), CUDA_FORMS)
def test_the_rules_of_cuda_are_those_of_its_autocast(training, form, dtype):
    made = training(**FORMS[form], runtime__dtype=dtype)
    plan = planned(made.config, "cuda")
    with AsOnCuda():
        assert plan.saved + plan.loss == pytest.approx(made.kept(), rel=tolerance(made.stage), abs=16)


def test_checkpointing_computes_a_block_again_and_nothing_else_stays(small):
    plain, checkpointed = small(), small(gradient_checkpointing=True)
    run = longest_pass(plain, plain.stage(STAGE), "cpu", adapters=True)
    one = sum(of_profile(plain.model.text).kept(plain.model.text, plain.model.lora, run).later.values())
    assert planned(plain).recomputed == 0
    assert planned(checkpointed).recomputed == one
    inputs = plain.model.text.hidden_size * 4 * run.all_tokens
    assert planned(plain).saved - planned(checkpointed).saved == 2 * (one - inputs)


def test_the_head_counts_for_the_peak_where_it_is_larger_than_a_block(small):
    narrow, wide = planned(small(text__vocab_size=64)), planned(small(text__vocab_size=50_000))
    assert narrow.peak == narrow.saved + narrow.working
    assert wide.peak == wide.saved + wide.logits


def test_a_table_of_batch_sizes_gives_its_largest(paper):
    assert longest_pass(paper, paper.stage4, "cuda", adapters=True).samples == 3
    larger = paper.stage4.model_copy(update={"micro_batch_size": 16})
    assert longest_pass(paper, larger, "cuda", adapters=True).samples == 3
    assert longest_pass(paper, paper.stage1, "cuda", adapters=False).samples == 64

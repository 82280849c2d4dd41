"""The plan's activations beside what is there when the same pass runs on real tensors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode

from tinygptv.planning import dry_run
from tinygptv.planning.cuda_rules import OPERATIONS
from tinygptv.planning.dry_run import activations
from tinygptv.planning.live import LiveBytes
from tinygptv.planning.memory import stage_memory
from tinygptv.planning.plan import changed
from tinygptv.planning.sizes import measure
from tinygptv.training.loss import placed_loss

STAGE = "stage3"
PARTS = ("projection", "input_norm", "qk_norm", "rms_norm", "final_norm", "lora")
RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
LEVERS = {"gradient_checkpointing": True, "label_only_logits": True, "base_8bit": True}
LLAMA: dict[str, Any] = {"text__architecture": "llama", "text__resid_pdrop": 0.0, "text__num_key_value_heads": 2}


def without(part: str) -> tuple[str, ...]:
    return tuple(other for other in PARTS if other != part)


def planned(config, device="cpu"):
    return activations(config, STAGE, device, adapted="lora" in config.stage(STAGE).trainable)


FORMS: dict[str, dict[str, Any]] = {
    "plain": {},
    "one block": {"text__num_hidden_layers": 1},
    "five blocks, no adapters": {"text__num_hidden_layers": 5, "trainable": without("lora")},
    "no dropout": {"text__resid_pdrop": 0.0, "lora__dropout": 0.0},
    "no added norms": {"text__qk_norm": False, "text__rms_norm": False, "trainable": ("projection", "lora")},
    "checkpointing": {"gradient_checkpointing": True},
    "label only": {"label_only_logits": True},
    "8 bits": {"base_8bit": True},
    "all levers": {**LEVERS, "text__num_hidden_layers": 4},
    "packed": {"packing": True},
    "Llama": LLAMA,
    "Llama, all levers, MLP": {**LLAMA, **LEVERS, "lora__mlp": True, "text__num_hidden_layers": 4},
}


HALF = ("plain", "all levers", "packed", "Llama")
"""Those that are also run in 16 bits."""


@pytest.mark.parametrize(
    ("form", "dtype"), [*((form, "float32") for form in FORMS), *((form, "bfloat16") for form in HALF)]
)
def test_the_dry_run_keeps_what_a_real_pass_keeps(training, form, dtype):
    made = training(**FORMS[form], runtime__dtype=dtype)
    plan, (real, saved) = planned(made.config), made.kept()
    # torch says of a norm's two numbers a row that they have the format of the input; the CPU's kernel keeps float32.
    assert plan.kept == pytest.approx(real, rel=0.0 if dtype == "float32" else 0.01)
    assert plan.kept < plan.peak
    if not made.stage.gradient_checkpointing:  # which keeps some inputs of blocks where autograd does not see them
        assert real == pytest.approx(saved, abs=64)


def test_the_peak_is_that_of_a_real_pass(training):
    made = training(runtime__dtype="float32")
    placed, live = dry_run.largest(made.config, made.stage), LiveBytes("cpu")
    for parameter in made.model.parameters():
        parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
    with live:
        live.count([*made.model.parameters(), *made.model.buffers()])
        live.count(p.grad for p in made.model.parameters() if p.grad is not None)
        before = live.now
        live.count(dry_run.batch_tensors(placed))
        placed_loss(made.model, placed, label_only=made.stage.label_only_logits).backward()
    assert planned(made.config).peak == live.peak - before


def test_compiled_blocks_keep_less_and_an_open_length_changes_nothing(small):
    """What the partition keeps is the inputs of products; the compiler itself is not there."""
    forms = {"runtime__dtype": "bfloat16", "max_sequence_tokens": 120}
    plain, compiled = (planned(small(**forms, compile=flag), "cuda") for flag in (False, True))
    assert 0.3 * plain.kept < compiled.kept < 0.9 * plain.kept
    assert compiled.peak < plain.peak


def test_nothing_is_drawn_and_nothing_stays(small):
    torch.manual_seed(3)
    before, called = torch.get_rng_state(), torch.nn.functional.dropout
    planned(small(gradient_checkpointing=True, max_sequence_tokens=51), "cuda")
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.nn.functional.dropout is called
    assert torch.ones(1).item() == 1


def test_what_autocast_does_otherwise_on_cuda_is_among_the_rules(training):
    """Of all operations of a pass whose rules under autocast differ between the devices, as torch itself has them."""
    called: set[str] = set()

    class Names(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            called.add(func.__name__)
            return func(*args, **(kwargs or {}))

    for form in ({}, LLAMA, {"packing": True}):
        made = training(**form, runtime__dtype="bfloat16")
        with Names():
            placed_loss(made.model, dry_run.largest(made.config, made.stage), label_only=True)

    def rule(name: str, device: str) -> bool:
        return torch._C._dispatch_has_kernel_for_dispatch_key(f"aten::{name}", f"Autocast{device}")

    known = {name for name in called if torch._C._dispatch_has_kernel(f"aten::{name}")}
    assert {"linear", "layer_norm", "gelu"} <= known
    other = {name for name in known if rule(name, "CUDA") != rule(name, "CPU")}
    assert other <= {operation.__name__ for operation in OPERATIONS} | CAST_ALREADY


CAST_ALREADY = {"cross_entropy_loss", "sum", "cat", "index_copy", "cumsum"}
"""They get numbers of one format here: integers, or float32 where CUDA would cast to it."""


def measured(name: str) -> list[dict[str, Any]]:
    """Rows of a GPU's figures that are of a whole stage as the profile has it."""
    rows = json.loads((RESULTS / f"{name}.json").read_text())["rows"]
    return [row for row in rows if row["status"] == "measured" and row["variant"] in ("cached", "8gb")]


def test_figures_of_a_gpu_are_within_five_per_cent(paper):
    """Peaks as the device had them, with the context and the gaps; where they are known, of tensors alone."""
    ratios = []
    for row in measured("gpu_step"):
        plan = stage_memory(paper, row["stage"], measure(paper, row["stage"]), "cuda")
        ratios.append(plan.peak / row["peak_bytes"])
    for row in measured("gpu_memory"):
        name, levers = row["stage"], {"base_8bit": True, "gradient_checkpointing": True, "compile": False}
        settings = {f"{name}.{key}": value for key, value in levers.items()}
        plan = stage_memory(changed(paper, settings), name, measure(paper, name), "cuda")
        ratios += [(plan.peak - plan.reserve) / row["measured"]["allocated"], plan.peak / row["measured"]["peak"]]
    assert len(ratios) >= 3
    assert ratios == pytest.approx([1.0] * len(ratios), abs=0.05)


def test_the_largest_micro_batch_is_that_of_the_largest_step(paper):
    larger = paper.stage4.model_copy(update={"micro_batch_size": 16, "packing": False})
    assert dry_run.largest(paper, larger).input_ids.shape == (3, paper.stage4.max_sequence_tokens)
    assert dry_run.largest(paper, paper.stage1).input_ids.shape == (64, 65)

"""Queries and keys like Phi-2's overflow in float16; QK-Norm, another kernel or another format mends it."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
STEPS = 12


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("float16_script", ROOT / "benchmarks" / "float16.py")
    script = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = script
    spec.loader.exec_module(script)
    script.BLOCKS, script.HEADS, script.BATCH = 2, 2, 4
    yield script
    del sys.modules[spec.name]


def trained(script, number_format, kernel, qk_norm, entry):
    case = script.Case(number_format, kernel, qk_norm, entry)
    return script.train(case, STEPS, 7, torch.device("cpu"))


def test_without_the_norm_the_first_loss_is_nan_and_no_step_changes_a_weight(script):
    found = trained(script, "float16", "eager", False, script.FEW_HUNDREDS)
    assert found["first"]["over"] > 0.01 and found["first"]["product"] > script.LARGEST
    assert found["losses"] == [None] * STEPS
    assert (found["skipped"], found["moved"], found["scale"]) == (STEPS, False, 2.0 ** (16 - STEPS))
    assert "| float16 | eager | no | 3" in script.table([found])
    assert f"| NaN, NaN | {STEPS} of {STEPS} |" in script.table([found])


@pytest.mark.parametrize(
    ("number_format", "kernel", "qk_norm", "entry"),
    [
        ("float16", "eager", True, 300.0),
        ("float16", "sdpa", False, 300.0),
        ("float32", "eager", False, 300.0),
        ("float16", "eager", False, 100.0),
    ],
)
def test_with_the_norm_another_kernel_or_format_or_smaller_entries_it_learns(
    script, number_format, kernel, qk_norm, entry
):
    found = trained(script, number_format, kernel, qk_norm, entry)
    assert None not in found["losses"]
    assert found["moved"] and found["skipped"] < STEPS // 2
    assert found["losses"][-1] < found["losses"][0] - 0.1
    norm = script.CHANNELS if qk_norm else float("inf")
    assert found["first"]["product"] <= norm * 1.001  # two vectors of length √80

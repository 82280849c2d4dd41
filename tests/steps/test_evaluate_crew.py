"""``evaluate`` and ``quantize`` with processes side by side: the files and reports of one process, byte for byte."""

from __future__ import annotations

import shutil

import pytest

from tests.checkouts import Checkout
from tests.steps.test_evaluate import evaluated, with_stage4  # noqa: F401 (fixtures)


@pytest.mark.parametrize(
    "environment",
    [
        *(pytest.param({"TINYGPTV_PROCESSES": count}, marks=pytest.mark.drills) for count in ("2", "4")),
        pytest.param({"TINYGPTV_PROCESSES": "2", "TINYGPTV_RUNNER": "ray"}, marks=pytest.mark.services),
    ],
)
@pytest.mark.drill(1, "evaluate and quantize in processes, also on a Ray cluster: the bytes of one", trials=1)
def test_any_number_of_processes_ends_with_the_bytes_of_one(evaluated, run, tmp_path, monkeypatch, environment):  # noqa: F811
    alone = Checkout(shutil.copytree(evaluated.checkout.root, tmp_path / "alone"))
    assert run(alone, "quantize") == 0
    together = Checkout(shutil.copytree(alone.root, tmp_path / "together"))
    for folder in (together.data / "evaluate", together.data / "quantize", together.root / "reports", together.state):
        shutil.rmtree(folder)
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    for step in ("evaluate", "quantize"):
        assert run(together, step) == 0
    assert together.outputs() == alone.outputs()

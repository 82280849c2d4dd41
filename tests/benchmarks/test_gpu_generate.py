"""Figures of answers on a GPU: what equality means, what a row shows, and that nothing is measured without a GPU."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("gpu_generate"), importlib.import_module("gpu_generate_worker")


def test_equality_counts_up_to_the_first_difference(scripts):
    _, worker = scripts
    assert worker.agreement([[1, 2, 3, 4], [5, 6]], [[1, 2, 9, 4], [5, 6]]) == 4 / 6
    assert worker.agreement([[1]], [[1]]) == 1


def test_a_row_that_failed_is_in_the_table_and_in_the_exit_code(scripts, tmp_path, capsys, monkeypatch):
    script, _ = scripts
    good = {"group": "half", "what": "loop", "rows": 1, "status": "measured", "tokens_per_s": 345.55, "peak_bytes": 8e9}
    bad = {"group": "eight", "what": "the rest", "status": "failed: RuntimeError: no"}
    assert "345.6" in script.table([good, bad]) and "failed: RuntimeError: no" in script.table([good, bad])
    monkeypatch.setattr(
        sys, "argv", ["gpu_generate.py", "--device", "cpu", "--tiny", "--out", str(tmp_path / "o.json")]
    )
    monkeypatch.setattr(script, "measured", lambda group, *_: iter([dict(bad)] if group == "eight" else []))
    assert script.main() == 1
    assert '"status": "not measured"' in (tmp_path / "o.json").read_text()


def test_without_a_gpu_nothing_is_measured(scripts, monkeypatch, capsys):
    script, _ = scripts
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu_generate.py"])
    with pytest.raises(SystemExit) as ended:
        script.main()
    assert ended.value.code == 2
    assert "no CUDA device" in capsys.readouterr().err

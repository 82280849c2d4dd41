"""The splits that a benchmark names, its form reads: names stand in both, so that neither imports the other."""

from __future__ import annotations

from importlib import import_module

import pytest

from tinygptv.config.benchmarks import BENCHMARKS
from tinygptv.config.formats import FORMATS
from tinygptv.evaluation.benchmarks.table import benchmark_of


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_form_reads_the_parts_of_its_benchmark(name):
    benchmark = benchmark_of(name)
    parts = getattr(import_module(FORMATS[benchmark.form]), "PARTS", ()) if benchmark.form else ()
    if parts:
        assert set(benchmark.parts) <= set(parts)
        assert next(iter(benchmark.parts)) == next(iter(parts))

"""The benchmarks that a data set may name: name → module, which has one ``BENCHMARK``."""

from __future__ import annotations

BENCHMARKS: dict[str, str] = {
    "exact_match": "tinygptv.evaluation.benchmarks.exact_match",
}

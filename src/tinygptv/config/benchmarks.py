"""The benchmarks that a data set may name: name → module, which has one ``BENCHMARK``."""

from __future__ import annotations

BENCHMARKS: dict[str, str] = {
    "choice": "tinygptv.evaluation.benchmarks.choice",
    "exact_match": "tinygptv.evaluation.benchmarks.exact_match",
    "gqa": "tinygptv.evaluation.benchmarks.gqa",
    "hateful_memes": "tinygptv.evaluation.benchmarks.hateful_memes",
    "iconqa": "tinygptv.evaluation.benchmarks.iconqa",
    "pope": "tinygptv.evaluation.benchmarks.pope",
    "vsr": "tinygptv.evaluation.benchmarks.vsr",
    "yes_no": "tinygptv.evaluation.benchmarks.yes_no",
}

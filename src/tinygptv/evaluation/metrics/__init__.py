"""Metrics as pure functions: strict matching, and the shape of a benchmark in the reports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tinygptv.evaluation.statistics import wilson_interval

Benchmark = dict[str, Any]
"""``{"metric", "value", "n", "ci95", "majority", "blind", "trivial"}``, as in the JSON reports, which add ``cut``."""


def exact_match(answer: str, truth: str) -> bool:
    """Whether the texts are equal but for white space around them: no case folding, no substrings."""
    return answer.strip() == truth.strip()


def agreement(answers_a: Sequence[str], answers_b: Sequence[str]) -> float:
    """The share of equal answers of two models to the same questions.

    Raises:
        ValueError: the lists are empty or of different lengths.
    """
    if not answers_a or len(answers_a) != len(answers_b):
        raise ValueError(f"cannot compare {len(answers_a)} answers with {len(answers_b)}")
    return sum(exact_match(a, b) for a, b in zip(answers_a, answers_b, strict=True)) / len(answers_a)


def benchmark(
    metric: str,
    outcomes: Sequence[bool],
    *,
    majority: float | None = None,
    blind: float | None = None,
    trivial: float | None = None,
) -> Benchmark:
    """One entry of ``benchmarks`` in a report; every number has six decimals.

    Args:
        metric: what is counted, such as ``exact match`` or ``Acc@0.5``.
        outcomes: right or wrong, for each question.
        majority: what the training set's most frequent answer would reach.
        blind: what the most frequent training answer to the same question text would reach.
        trivial: what one constant answer would reach where answers are not words.
    """
    correct, n = sum(outcomes), len(outcomes)
    low, high = wilson_interval(correct, n)
    return {
        "metric": metric,
        "value": round(correct / n, 6),
        "n": n,
        "ci95": [round(low, 6), round(high, 6)],
        "majority": _rounded(majority),
        "blind": _rounded(blind),
        "trivial": _rounded(trivial),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)

"""Metrics as pure functions: strict matching, boxes, and the shape of a benchmark in the reports.

A box is ``(x1, y1, x2, y2)`` in whole hundredths of the image's sides, 0..100; ``x2`` and ``y2`` are exclusive edges.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tinygptv.data.boxes import Box, parse_box
from tinygptv.evaluation.statistics import wilson_interval

Benchmark = dict[str, Any]
"""``{"metric", "value", "n", "ci95", "majority", "blind", "trivial"}``, as in the JSON reports, which add ``cut``."""

IOU_THRESHOLD = 0.5
"""Acc@0.5 of referring expressions counts boxes that overlap by more than this."""


def exact_match(answer: str, truth: str) -> bool:
    """Whether the texts are equal but for white space around them: no case folding, no substrings."""
    return answer.strip() == truth.strip()


def iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes.

    With exclusive edges a box has the area ``(x2 - x1) * (y2 - y1)``, and 0 where an edge is not after its partner;
    ``iou = area(a ∩ b) / (area(a) + area(b) - area(a ∩ b))``, and 0 where both boxes are empty.
    """
    common = _area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))
    union = _area(a) + _area(b) - common
    return common / union if union else 0.0


def acc_at_iou(answer: str, truth: Box, threshold: float = IOU_THRESHOLD) -> bool:
    """Whether an answer is one box that overlaps the true one by more than ``threshold``.

    The whole answer must be ``{<x1><y1><x2><y2>}``, but for white space around it; text before or after a box makes
    it wrong, as does a second box.
    """
    box = parse_box(answer.strip())
    return box is not None and iou(box, truth) > threshold


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


def _area(box: Box) -> int:
    return max(0, box[2] - box[0]) * max(0, box[3] - box[1])


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)

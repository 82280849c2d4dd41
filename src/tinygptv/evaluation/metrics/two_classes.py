"""Precision, recall, F1 and the share of "yes" of answers that are one of two.

Shapes: Q questions, C = 5 numbers of each (``outcome``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tinygptv.evaluation.benchmarks.seam import Numbers


def two_way(text: str, words: tuple[str, str]) -> bool | None:
    """Which of two words an answer is: True for the first, None for neither.

    The whole answer counts, but for white space, letter case and a full stop at its end.
    """
    said = text.strip().removesuffix(".").rstrip().casefold()
    return {words[0]: True, words[1]: False}.get(said)


def outcome(*, positive: bool, said: bool | None) -> tuple[float, float, float, float, float]:
    """What the measures below keep of a question: whether it is a true positive, a false positive, a false negative
    (missed, whatever was said instead), a true negative, or one of the negative class with neither answer."""
    hit, alarm = positive and said is True, not positive and said is True
    missed, rest = positive and said is not True, not positive and said is False
    return float(hit), float(alarm), float(missed), float(rest), float(not positive and said is None)


def precision(columns_QC: Numbers, weights_Q: Numbers) -> float:
    """Share of the answers "yes" that are right; NaN where there is none."""
    hits, alarms, *_ = _sums(columns_QC, weights_Q)
    return _share(hits, hits + alarms)


def recall(columns_QC: Numbers, weights_Q: Numbers) -> float:
    """Share of the positive questions that are answered "yes"; NaN where there is none."""
    hits, _, missed, *_ = _sums(columns_QC, weights_Q)
    return _share(hits, hits + missed)


def f1(columns_QC: Numbers, weights_Q: Numbers) -> float:
    """Harmonic mean of precision and recall; 0 without a hit, NaN where no question and no answer is positive."""
    hits, alarms, missed, *_ = _sums(columns_QC, weights_Q)
    if not hits:
        return _share(0.0, alarms + missed)
    right, found = hits / (hits + alarms), hits / (hits + missed)
    return 2 * right * found / (right + found)


def yes_ratio(columns_QC: Numbers, weights_Q: Numbers) -> float:
    """Share of the answers that are "yes", whatever is true."""
    sums = _sums(columns_QC, weights_Q)
    return _share(sums[0] + sums[1], sum(sums))


def _sums(columns_QC: Numbers, weights_Q: Numbers) -> list[float]:
    return [float(total) for total in weights_Q @ columns_QC]


def _share(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")

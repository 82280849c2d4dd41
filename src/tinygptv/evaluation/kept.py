"""What metrics keep of the answers to a benchmark's questions, which come in blocks: numbers, not answers.

Shapes: Q questions, C numbers that a metric keeps of each.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from tinygptv.evaluation.statistics import by_kind

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tinygptv.evaluation.benchmarks.seam import Metric, Numbers, Prediction, Truth

T = TypeVar("T")


class KeptColumns:
    """The columns of some metrics. Metrics that count the same function of a question in other ways share them."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        """Nothing was answered yet."""
        self._blocks: dict[Callable[..., Numbers], list[Numbers]] = {metric.columns: [] for metric in metrics}
        self._whole = {metric.columns for metric in metrics if metric.whole}
        self._kinds: dict[Callable[[Truth], str], list[str]] = {m.by: [] for m in metrics if m.by is not None}
        self._truths: list[Truth] = []
        self._predictions: list[Prediction] = []

    def add(self, truths: Sequence[Truth], predictions: Sequence[Prediction]) -> None:
        """Count a block; what a metric must see at once stays in memory."""
        for kind_of, kinds in self._kinds.items():
            kinds += (sys.intern(kind_of(truth)) for truth in truths)
        for columns, blocks in self._blocks.items():
            if columns not in self._whole:
                blocks.append(columns(truths, predictions))
        if self._whole:
            self._truths += truths
            self._predictions += predictions
            self._blocks.update((columns, []) for columns in self._whole)

    def columns(self, metric: Metric) -> Numbers:
        """What a metric keeps of all questions so far [Q, C]."""
        blocks = self._blocks[metric.columns]
        if metric.columns in self._whole and not blocks and self._truths:
            blocks.append(metric.columns(self._truths, self._predictions))
        if len(blocks) > 1:
            blocks[:] = [np.concatenate(blocks)]
        return blocks[0] if blocks else np.zeros((0, 1))

    def told(self, metric: Metric, of: Callable[[Numbers, NDArray[np.int64]], T]) -> T | dict[str, T]:
        """What is told of columns and places of all questions; where the metric has kinds, kind → the same of it."""
        columns_QC = self.columns(metric)
        if metric.by is None:
            return of(columns_QC, np.arange(len(columns_QC)))
        return {kind: of(columns_QC[at], at) for kind, at in by_kind(self._kinds[metric.by]).items()}

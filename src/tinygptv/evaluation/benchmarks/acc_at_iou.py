"""Boxes of referring expressions, for data of one's own: an answer counts where it overlaps the true box by half."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tinygptv.data.boxes import parse_box
from tinygptv.evaluation.benchmarks import exact_match
from tinygptv.evaluation.benchmarks.seam import Metric, Prediction, each, mean
from tinygptv.evaluation.metrics import exact_match as equal
from tinygptv.evaluation.metrics.boxes import acc_at_iou

if TYPE_CHECKING:
    from tinygptv.evaluation.benchmarks.seam import Truth


def _hits(truth: Truth, prediction: Prediction) -> tuple[float]:
    return (float(any(_hit(prediction.answer, right) for right in truth["answers"])),)


def _hit(answer: str, right: str) -> bool:
    """A true answer may be something else than one box, such as several; then it is compared as text."""
    box = parse_box(right)
    return equal(answer, right) if box is None else acc_at_iou(answer, box)


ACC_AT_IOU = Metric(
    name="Acc@0.5",
    variant="IoU > 0.5 in hundredths of the image, edges exclusive; the whole answer is one box",
    columns=each(_hits),
    value=mean,
)
BENCHMARK = replace(exact_match.BENCHMARK, title="boxes (Acc@0.5)", official=(ACC_AT_IOU,))

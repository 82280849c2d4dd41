"""How much boxes overlap, and whether an answer is the true box.

A box has the edges ``(x1, y1, x2, y2)``, in hundredths of the image's sides or in pixels.
"""

from __future__ import annotations

from tinygptv.data.boxes import Box, parse_box

Edges = tuple[float, float, float, float]

IOU_THRESHOLD = 0.5
"""The overlap at which Acc@0.5 of referring expressions parts right from wrong."""


def iou(a: Edges, b: Edges) -> float:
    """Intersection over union of two boxes whose ``x2`` and ``y2`` are exclusive edges.

    A box has the area ``(x2 - x1) * (y2 - y1)``, and 0 where an edge is not after its partner;
    ``iou = area(a ∩ b) / (area(a) + area(b) - area(a ∩ b))``, and 0 where both boxes are empty.
    """
    common = _area(*_common(a, b))
    union = _area(*a) + _area(*b) - common
    return common / union if union else 0.0


def iou_of_last_pixels(a: Edges, b: Edges) -> float:
    """The same where ``x2`` and ``y2`` are the last pixels of a box, as the authors count.

    A box is so a pixel wider and higher. Areas keep the sign of edges in the wrong order, of which an overlap can come
    that is none.

    Source: ``computeIoU`` in the authors' ``minigpt4/common/eval_utils.py``.
    """
    x1, y1, x2, y2 = _common(a, b)
    common = max(0.0, x2 - x1 + 1) * max(0.0, y2 - y1 + 1)
    union = sum((box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (a, b)) - common
    return common / union if union else 0.0


def acc_at_iou(answer: str, truth: Box, threshold: float = IOU_THRESHOLD) -> bool:
    """Whether an answer is one box that overlaps the true one by more than ``threshold``.

    The whole answer must be ``{<x1><y1><x2><y2>}``, but for white space around it; text before or after a box makes
    it wrong, as does a second box.
    """
    box = parse_box(answer.strip())
    return box is not None and iou(box, truth) > threshold


def _common(a: Edges, b: Edges) -> Edges:
    return max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])


def _area(x1: float, y1: float, x2: float, y2: float) -> float:
    return max(0, x2 - x1) * max(0, y2 - y1)

"""What a model without eyes would reach: answers chosen on training data alone.

For the test set they are chosen on the whole official training split (the images that train and those held out of it);
for the held-out slice on the images that train, so that no answer is copied. Ties go to the answer that comes first in
the data.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from tinygptv.data.boxes import Box, format_box, parse_box
from tinygptv.evaluation.metrics.boxes import IOU_THRESHOLD, iou

if TYPE_CHECKING:
    from tinygptv.data.records import Record
    from tinygptv.evaluation.questions import Question


@dataclass(frozen=True, slots=True)
class Baselines:
    """Answers that need no image, chosen on training data; None where it has no record of the task."""

    majority: str | None
    """The most frequent answer to any question."""
    blind: dict[str, str]
    """Question text → its most frequent answer."""
    box: str | None
    """The one box that is right most often; see ``best_constant_box``."""
    caption: str | None
    """The most frequent caption."""

    def constant(self, task: str) -> str | None:
        """The answer that ignores image and question."""
        return {"vqa": self.majority, "refer": self.box, "caption": self.caption}[task]

    def question_only(self, question: Question) -> str | None:
        """The answer that ignores the image; the majority where training never asked the question."""
        return self.blind.get(question.content, self.majority)


class TrainingAnswers:
    """How often each answer was given in training. It grows with the different answers, not with the records."""

    def __init__(self) -> None:
        self._answers: dict[str, Counter[str]] = {task: Counter() for task in ("vqa", "refer", "caption")}
        self._by_question: dict[str, Counter[str]] = {}

    def add(self, records: Iterable[Record]) -> None:
        """Count the answers of training records, in the order of the data."""
        for record in records:
            for turn in record.turns:
                if record.task in self._answers:
                    self._answers[record.task][turn.answer] += 1
                if record.task == "vqa":
                    self._by_question.setdefault(turn.question, Counter())[turn.answer] += 1

    def baselines(self) -> Baselines:
        """Choose the answers that need no image, among those that were added so far."""
        counts = self._answers["refer"].items()
        boxes = Counter({box: count for text, count in counts if (box := parse_box(text)) is not None})
        return Baselines(
            majority=_most_frequent(self._answers["vqa"]),
            blind={question: counts.most_common(1)[0][0] for question, counts in self._by_question.items()},
            box=format_box(best_constant_box(boxes)) if boxes else None,
            caption=_most_frequent(self._answers["caption"]),
        )


def best_constant_box(boxes: Counter[Box]) -> Box:
    """The box with the highest Acc@0.5 on training boxes.

    The candidates are the whole image, the box of the coordinates' medians, and the squares around the image's
    centre with sides of 10, 20, ... 90 hundredths.
    """
    every = list(boxes.elements())
    medians = [round(median(box[axis] for box in every)) for axis in range(4)]
    candidates: list[Box] = [(0, 0, 100, 100), (medians[0], medians[1], medians[2], medians[3])]
    candidates += [(50 - half, 50 - half, 50 + half, 50 + half) for half in range(5, 50, 5)]
    return max(candidates, key=lambda box: sum(n for b, n in boxes.items() if iou(box, b) > IOU_THRESHOLD))


def _most_frequent(counts: Counter[str]) -> str | None:
    return counts.most_common(1)[0][0] if counts else None

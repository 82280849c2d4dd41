"""Which questions are asked, what a model without eyes would reach, and how answers become numbers.

Baselines see training data only. For the test set they are fitted on the whole official training split (the images
that train and those held out of it); for the held-out slice on the images that train, so that no answer is copied.
Ties go to the answer that comes first in the data.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from tinygptv.data.boxes import Box, format_box, parse_box
from tinygptv.evaluation.metrics import (
    IOU_THRESHOLD,
    QUESTION_TYPES,
    Benchmark,
    acc_at_iou,
    benchmark,
    exact_match,
    iou,
    question_type,
)

if TYPE_CHECKING:
    from tinygptv.data.records import ImageRecord, Record, Turn

BENCHMARKS = {"vqa": "easy_vqa", "refer": "easy_vqa_refer", "caption": "easy_vqa_caption"}
"""Task → name of its benchmark in the reports."""


@dataclass(frozen=True, slots=True)
class Question:
    """One thing to ask about one image."""

    key: str
    """The sample with the image."""
    record: str
    task: str
    content: str
    """What goes into the task's instruction template: a question, an expression, or nothing."""
    truth: str
    type: str
    """One of ``QUESTION_TYPES`` for vqa, empty for the other tasks."""
    earlier: tuple[Turn, ...] = ()
    """The record's turns before it: a later question of a conversation is asked after them, as it is trained."""


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


def list_questions(samples: Iterable[ImageRecord], tasks: Sequence[str] = tuple(BENCHMARKS)) -> list[Question]:
    """Every question of the tasks, in the order of the samples; a record of several turns asks several."""
    return [
        Question(
            key=sample.key,
            record=record.id,
            task=record.task,
            content=turn.question,
            truth=turn.answer,
            type=question_type(turn.question, turn.answer) if record.task == "vqa" else "",
            earlier=record.turns[:place],
        )
        for sample in samples
        for record in sample.records
        if record.task in tasks
        for place, turn in enumerate(record.turns)
    ]


def evenly_spaced(questions: Sequence[Question], limit: int) -> list[Question]:
    """At most ``limit`` questions of each task, evenly spread over the list: the same ones in every run."""
    chosen: list[Question] = []
    for task in dict.fromkeys(question.task for question in questions):
        of_task = [question for question in questions if question.task == task]
        count = min(limit, len(of_task))
        chosen += [of_task[index * len(of_task) // count] for index in range(count)]
    return chosen


def fit_baselines(records: Iterable[Record]) -> Baselines:
    """Choose the answers that need no image.

    Args:
        records: training records, in the order of the data.
    """
    answers: dict[str, Counter[str]] = {task: Counter() for task in BENCHMARKS}
    by_question: dict[str, Counter[str]] = {}
    for record in records:
        for turn in record.turns:
            if record.task in answers:
                answers[record.task][turn.answer] += 1
            if record.task == "vqa":
                by_question.setdefault(turn.question, Counter())[turn.answer] += 1
    boxes = Counter({box: count for text, count in answers["refer"].items() if (box := parse_box(text)) is not None})
    return Baselines(
        majority=_most_frequent(answers["vqa"]),
        blind={question: counts.most_common(1)[0][0] for question, counts in by_question.items()},
        box=format_box(best_constant_box(boxes)) if boxes else None,
        caption=_most_frequent(answers["caption"]),
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


def is_right(question: Question, answer: str) -> bool:
    """Whether an answer counts: Acc@0.5 where the truth of refer is one box, equal text for the rest."""
    box = parse_box(question.truth) if question.task == "refer" else None
    return exact_match(answer, question.truth) if box is None else acc_at_iou(answer, box)


def score(
    questions: Sequence[Question], answers: Sequence[str], baselines: Baselines, cut: Sequence[bool] = ()
) -> dict[str, Benchmark]:
    """Name of a benchmark → its entry, for each task that was asked.

    Args:
        questions: what was asked.
        answers: one for each.
        baselines: answers that need no image.
        cut: which answers were cut at the longest that was allowed; where it is known, an entry counts them (``cut``).

    Raises:
        ValueError: there is not one answer for each question.
    """
    pairs = _pairs(questions, answers)
    entries = {
        name: _score_task(task, [pair for pair in pairs if pair[0].task == task], baselines)
        for task, name in BENCHMARKS.items()
        if any(question.task == task for question in questions)
    }
    if cut:
        for name, entry in entries.items():
            entry["cut"] = sum(now for q, now in zip(questions, cut, strict=True) if BENCHMARKS[q.task] == name)
    return entries


def score_by_type(questions: Sequence[Question], answers: Sequence[str], baselines: Baselines) -> dict[str, Benchmark]:
    """Type of vqa question → its entry; the baselines are those of the whole benchmark, on the type's questions.

    Raises:
        ValueError: there is not one answer for each question.
    """
    pairs = _pairs(questions, answers)
    by_type = {kind: [pair for pair in pairs if pair[0].type == kind] for kind in QUESTION_TYPES}
    return {kind: _score_task("vqa", chosen, baselines) for kind, chosen in by_type.items() if chosen}


def _score_task(task: str, pairs: Sequence[tuple[Question, str]], baselines: Baselines) -> Benchmark:
    constant = _share([(question, baselines.constant(task)) for question, _ in pairs])
    outcomes = [is_right(question, answer) for question, answer in pairs]
    if task != "vqa":
        return benchmark("Acc@0.5" if task == "refer" else "exact match", outcomes, trivial=constant)
    blind = _share([(question, baselines.question_only(question)) for question, _ in pairs])
    return benchmark("exact match", outcomes, majority=constant, blind=blind)


def _pairs(questions: Sequence[Question], answers: Sequence[str]) -> list[tuple[Question, str]]:
    if len(questions) != len(answers):
        raise ValueError(f"{len(answers)} answers to {len(questions)} questions")
    return list(zip(questions, answers, strict=True))


def _most_frequent(counts: Counter[str]) -> str | None:
    return counts.most_common(1)[0][0] if counts else None


def _share(guesses: Sequence[tuple[Question, str | None]]) -> float | None:
    """How often a baseline is right; None where it has no answer."""
    known = [is_right(question, guess) for question, guess in guesses if guess is not None]
    return sum(known) / len(known) if known and len(known) == len(guesses) else None

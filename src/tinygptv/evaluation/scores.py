"""Answers judged: what a report holds of them, and the same in one line and as numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tinygptv.data.boxes import parse_box
from tinygptv.evaluation.baselines import Baselines
from tinygptv.evaluation.benchmarks.table import LABELS, TYPES
from tinygptv.evaluation.metrics import Benchmark, agreement, benchmark, exact_match
from tinygptv.evaluation.metrics.boxes import acc_at_iou
from tinygptv.evaluation.questions import Question


def judged(
    questions: Sequence[Question], answers: Sequence[str], cut: Sequence[bool], baselines: Baselines
) -> dict[str, dict[str, Benchmark]]:
    """Answers as the report of a step holds them: ``benchmarks``, and ``by_type``.

    Args:
        questions: what was asked.
        answers: one for each.
        cut: which of them were cut at the longest that was allowed.
        baselines: answers that need no image.
    """
    return {
        "benchmarks": score(questions, answers, baselines, cut),
        "by_type": score_by_type(questions, answers, baselines),
    }


def score(
    questions: Sequence[Question], answers: Sequence[str], baselines: Baselines, cut: Sequence[bool] = ()
) -> dict[str, Benchmark]:
    """Name of a benchmark → its entry, for each that was asked.

    Args:
        questions: what was asked.
        answers: one for each.
        baselines: answers that need no image.
        cut: which answers were cut at the longest that was allowed; where it is known, an entry counts them (``cut``).

    Raises:
        ValueError: there is not one answer for each question.
    """
    pairs = _pairs(questions, answers)
    by_name = {name: [pair for pair in pairs if pair[0].benchmark == name] for name in LABELS}
    entries = {name: _entry(chosen, baselines) for name, chosen in by_name.items() if chosen}
    if cut:
        for name, entry in entries.items():
            entry["cut"] = sum(now for q, now in zip(questions, cut, strict=True) if q.benchmark == name)
    return entries


def score_by_type(questions: Sequence[Question], answers: Sequence[str], baselines: Baselines) -> dict[str, Benchmark]:
    """Type of vqa question → its entry; the baselines are those of the whole benchmark, on the type's questions.

    Raises:
        ValueError: there is not one answer for each question.
    """
    pairs = _pairs(questions, answers)
    by_type = {kind: [pair for pair in pairs if pair[0].type == kind] for kind in TYPES}
    return {kind: _entry(chosen, baselines) for kind, chosen in by_type.items() if chosen}


def is_right(question: Question, answer: str) -> bool:
    """Whether an answer counts: Acc@0.5 where the truth of refer is one box, equal text for the rest."""
    box = parse_box(question.truth) if question.task == "refer" else None
    return exact_match(answer, question.truth) if box is None else acc_at_iou(answer, box)


def compared(questions: Sequence[Question], answers: Sequence[str], former: Sequence[str]) -> dict[str, Any]:
    """The share of answers that are equal to another model's: ``value``, of ``n`` answers, and ``by_benchmark``."""
    by_benchmark = {
        name: round(agreement(*zip(*pairs, strict=True)), 6)
        for name in LABELS
        if (pairs := [(a, b) for q, a, b in zip(questions, answers, former, strict=True) if q.benchmark == name])
    }
    value = agreement(answers, former) if answers else None
    return {"value": value and round(value, 6), "n": len(answers), "by_benchmark": by_benchmark}


def former_answers(questions: Sequence[Question], predictions: Sequence[Mapping[str, Any]]) -> list[str] | None:
    """The answers among a step's predictions; None where those are of other questions."""
    if [(entry["record"], entry["question"]) for entry in predictions] != [(q.record, q.content) for q in questions]:
        return None
    return [str(entry["answer"]) for entry in predictions]


def values(scores: Mapping[str, Benchmark]) -> dict[str, float]:
    """What `dvc metrics show` prints: a number for each benchmark, narrow enough for a terminal."""
    return {name: entry["value"] for name, entry in scores.items()}


def for_run(scores: Mapping[str, Benchmark], prefix: str = "") -> dict[str, float]:
    """What a step's run records: the value of each benchmark, and its count of cut answers."""
    counts = {f"{name}.cut": entry["cut"] for name, entry in scores.items()}
    return {f"{prefix}{name}": number for name, number in {**values(scores), **counts}.items()}


def line(scores: Mapping[str, Benchmark]) -> str:
    """Benchmarks in one line, with what they are to be compared with."""
    parts = []
    for name, entry in scores.items():
        others = [f"{kind} {entry[kind]:.4f}" for kind in ("majority", "blind", "trivial") if entry[kind] is not None]
        others += [f"n {entry['n']}"] + [f"{entry['cut']} cut at evaluate.max_new_tokens"] * (entry["cut"] > 0)
        parts.append(f"{name} {entry['value']:.4f} ({', '.join(others)})")
    return ", ".join(parts)


def agreed(found: Mapping[str, Any]) -> str:
    """``compared`` in words."""
    if found["value"] is None:
        return "The test set has no question, so nothing was compared with the unquantized model."
    return f"Answers equal to the unquantized model's: {found['value']:.4f}."


def _entry(pairs: Sequence[tuple[Question, str]], baselines: Baselines) -> Benchmark:
    """The entry of questions of one task, each with its answer."""
    task = pairs[0][0].task
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


def _share(guesses: Sequence[tuple[Question, str | None]]) -> float | None:
    """How often a baseline is right; None where it has no answer."""
    known = [is_right(question, guess) for question, guess in guesses if guess is not None]
    return sum(known) / len(known) if known and len(known) == len(guesses) else None

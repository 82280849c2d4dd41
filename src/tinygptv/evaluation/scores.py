"""Answers judged: what a report holds of them, and the same in one line and as numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tinygptv.evaluation.benchmarks import BENCHMARKS, Baselines, Question, score, score_by_type
from tinygptv.evaluation.metrics import Benchmark, agreement


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


def compared(questions: Sequence[Question], answers: Sequence[str], former: Sequence[str]) -> dict[str, Any]:
    """The share of answers that are equal to another model's: ``value``, of ``n`` answers, and ``by_benchmark``."""
    by_benchmark = {
        name: round(agreement(*zip(*pairs, strict=True)), 6)
        for task, name in BENCHMARKS.items()
        if (pairs := [(a, b) for q, a, b in zip(questions, answers, former, strict=True) if q.task == task])
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

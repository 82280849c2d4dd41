"""Metrics as pure functions: here strict matching, which most of them share."""

from __future__ import annotations

from collections.abc import Sequence


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

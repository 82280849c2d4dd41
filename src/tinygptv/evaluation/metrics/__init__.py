"""Metrics as pure functions: here strict matching, which most of them share."""

from __future__ import annotations


def exact_match(answer: str, truth: str) -> bool:
    """Whether the texts are equal but for white space around them: no case folding, no substrings."""
    return answer.strip() == truth.strip()

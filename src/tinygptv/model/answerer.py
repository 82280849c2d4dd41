"""Answers of a model to a block of prompts: what every measurement asks, and what a faster machine may replace.

Shapes: N images, Q queries, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Likelihood:
    """How likely an answer is that was not generated."""

    logprob: float
    """Natural logarithm of its probability, end mark included."""
    tokens: int
    """How many tokens that are, end mark included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptRequest:
    """What is asked of a model."""

    image: int
    """Number of its image in the block."""
    prompt_ids: Sequence[int]
    """Token ids of the prompt, with the image's slots."""
    choices: Sequence[Sequence[int]] = ()
    """Token ids of answers whose likelihood is asked, without the end mark."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What a model gave."""

    text: str
    """The generated answer, up to its end mark."""
    tokens: int
    """How many tokens that are, without the end mark."""
    cut: bool
    """Whether it ran to the longest that was allowed."""
    logprob: float
    """Natural logarithm of its probability, end mark included where it came."""
    choices: tuple[Likelihood, ...] = ()
    """Of each choice."""

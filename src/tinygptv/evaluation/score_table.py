"""A score of predictions for a terminal: official numbers, their intervals, the authors' beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tinygptv.evaluation.score_files import FileScore
from tinygptv.ground.tables import plain_table

HEADER = ("", "official", "95 % interval", "authors")
"""The last column is left out where the authors count nothing otherwise."""


def table(score: FileScore) -> str:
    """The numbers, how many questions they are of, and the notes, each on a line."""
    of_all = "" if score.expected_n is None else f" of {score.expected_n:,}"
    official, ends, authors = (dict(_leaves(found or {})) for found in (score.official, score.ci95, score.authors))
    rows = [
        (
            name,
            _number(official[name]) if name in official else "",
            "" if ends.get(name) is None else "-".join(map(_number, ends[name])),
            _number(authors[name]) if name in authors else "",
        )
        for name in {**official, **authors}
    ]
    width = len(HEADER) if score.authors else len(HEADER) - 1
    first = next(iter(score.official))
    lines = [f"{first}: {score.variant}", *score.notes]
    head = f"{score.benchmark}: {score.n:,}{of_all} questions{'' if score.complete else ', not complete'}"
    return "\n".join(
        [head, "", plain_table(HEADER[:width], [row[:width] for row in rows], right=range(1, width)), "", *lines]
    )


def _leaves(found: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Names and numbers; a kind of question has its metric in front."""
    for name, value in found.items():
        if isinstance(value, dict):
            yield from ((f"{name} {kind}", leaf) for kind, leaf in value.items())
        else:
            yield name, value


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"

"""Answers judged: what a report holds of them, and the same in one line and as numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from tinygptv.evaluation.tally import DecidingColumns, Tally

if TYPE_CHECKING:
    from tinygptv.config import Preset
    from tinygptv.evaluation.baselines import Baselines
    from tinygptv.evaluation.benchmarks.table import Ask
    from tinygptv.evaluation.questions import Question
    from tinygptv.model.answerer import Response

Figures = dict[str, Any]
"""A benchmark in a report: docs/evaluation.md has its keys."""


class Judge:
    """Counts a model's answers as they come."""

    def __init__(self, asks: Iterable[Ask], baselines: Mapping[str, Baselines], preset: Preset) -> None:
        """Nothing was answered yet.

        Args:
            asks: what is asked.
            baselines: benchmark → answers that need no image; one without has no baseline in the report.
            preset: how the questions are put.
        """
        self._tallies = {ask.name: Tally(ask, baselines.get(ask.name)) for ask in asks}
        self._preset = preset

    def add(self, question: Question, response: Response) -> None:
        """Count an answer."""
        self._tallies[question.benchmark].add(question, response)

    def columns(self, name: str) -> DecidingColumns:
        """What the metric that decides keeps of a benchmark's questions so far."""
        return self._tallies[name].columns()

    def result(self) -> dict[str, dict[str, Figures]]:
        """What a report holds of the answers so far: ``benchmarks`` that were asked, and ``by_type``.

        A kind of question that several of them have stands there for each, after the benchmark's name.
        """
        asked = {name: tally for name, tally in self._tallies.items() if len(tally)}
        types = {name: tally.by_type() for name, tally in asked.items()}
        homes = Counter(kind for found in types.values() for kind in found)
        return {
            "benchmarks": {name: tally.entry(self._preset) for name, tally in asked.items()},
            "by_type": {
                kind if homes[kind] == 1 else f"{name} {kind}": entry
                for name, found in types.items()
                for kind, entry in found.items()
            },
        }


def values(scores: Mapping[str, Figures]) -> dict[str, float | None]:
    """What `dvc metrics show` prints: a number for each benchmark, narrow enough for a terminal."""
    return {name: entry["value"] for name, entry in scores.items()}


def for_run(scores: Mapping[str, Figures], prefix: str = "") -> dict[str, float]:
    """What a step's run records: the number of each benchmark that decides, the others, and its count of cut answers.

    A number that is undefined is not recorded.
    """
    found: dict[str, float | None] = {}
    for name, entry in scores.items():
        others = {key: value for key, value in entry["official"].items() if key != entry["metric"]}
        others |= {f"authors.{key}": value for key, value in (entry["authors"] or {}).items()}
        found |= {name: entry["value"], f"{name}.cut": entry["cut"]}
        found |= {f"{name}.{key}": value for key, value in others.items() if not isinstance(value, dict)}
    return {f"{prefix}{name}": number for name, number in found.items() if number is not None}


def line(scores: Mapping[str, Figures]) -> str:
    """Benchmarks in one line, with what they are to be compared with."""
    parts = []
    for name, entry in scores.items():
        others = [
            f"{kind} {entry[kind]:.4f}"
            for kind in ("majority", "blind", "trivial", "chance")
            if entry[kind] is not None
        ]
        others += [f"n {entry['n']}"] + [f"{entry['cut']} cut at evaluate.max_new_tokens"] * (entry["cut"] > 0)
        others += [f"{entry['excluded']} do not count"] * (entry["excluded"] > 0)
        value = "undefined" if entry["value"] is None else f"{entry['value']:.4f}"
        parts.append(f"{name} {value} ({', '.join(others)})")
    return ", ".join(parts)

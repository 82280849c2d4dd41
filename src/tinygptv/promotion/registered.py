"""The numbers that a version or a report carries, whatever somebody has made of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Registered:
    """The numbers that a version carries; they are compared with those measured, never trusted."""

    values: Mapping[str, Any] = field(default_factory=dict)
    counts: Mapping[str, Any] = field(default_factory=dict)
    start: Mapping[str, Any] = field(default_factory=dict)
    """What the model reached before its first stage; shown, never judged."""


def registered_numbers(
    report: Mapping[str, Any], figures: Mapping[str, str], start: Mapping[str, Any] | None = None
) -> Registered:
    """The numbers of a version's tags, whatever somebody has made of them.

    Args:
        report: the tag ``report``.
        figures: benchmark → the text of its tag ``metric.<benchmark>``, which must say the same.
        start: benchmark → what the model reached before its first stage.
    """
    benchmarks = report.get("benchmarks")
    entries = {name: entry_of(report, name) for name in benchmarks} if isinstance(benchmarks, Mapping) else {}
    values = {name: entry.get("value") for name, entry in entries.items()}
    told = {name: figures.get(name) for name in values}
    return Registered(
        {name: value if told[name] == str(value) else f"{value} and {told[name]}" for name, value in values.items()},
        {name: entry.get("n") for name, entry in entries.items()},
        start or {},
    )


def entry_of(report: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """What a report says of a benchmark; empty where it says nothing."""
    benchmarks = report.get("benchmarks")
    entry = benchmarks.get(name) if isinstance(benchmarks, Mapping) else None
    return entry if isinstance(entry, Mapping) else {}


def finite(value: Any) -> float | None:
    """A finite number, or None for everything else: missing, NaN, infinite, text, a truth value."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def samples(value: Any) -> int | None:
    """A number of samples, or None for everything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None

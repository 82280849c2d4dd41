"""The first difference of two JSON files, and of two lists of training steps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tinygptv.ground.differences import NOTHING, differing_keys
from tinygptv.provenance.words import MISSING, DamagedError, Names, pair, shown

LoggedPoint = dict[str, Any]
"""A training step: ``step`` counted from 1, and what was measured at it (``trace.jsonl``, ``history.json``)."""


def json_difference(first: Path, second: Path, names: Names) -> str | None:
    """The first differing key of two JSON files, or training step where both hold such; None where they say the same.

    Raises:
        DamagedError: one of them is not JSON.
    """
    left, right = (_read(path.read_bytes(), name) for path, name in zip((first, second), names, strict=True))
    return _sequence_difference(left, right, names) or value_difference(left, right, names)


def lines_difference(first: Path, second: Path, names: Names) -> str | None:
    """The same for files with a JSON value on each line: the first differing line, or training step.

    Raises:
        DamagedError: a line is not JSON.
    """
    left, right = (read_lines(path, name) for path, name in zip((first, second), names, strict=True))
    words = _sequence_difference(left, right, names)
    if words is not None:
        return words
    for number in range(max(len(left), len(right))):
        sides = [lines[number] if number < len(lines) else NOTHING for lines in (left, right)]
        if NOTHING in sides:
            present, absent = names if sides[1] is NOTHING else names[::-1]
            return f"line {number + 1} is {MISSING} ({absent}), not ({present})"
        if (words := value_difference(sides[0], sides[1], names)) is not None:
            return f"line {number + 1}: {words}"
    return None


def value_difference(first: Any, second: Any, names: Names) -> str | None:
    """The first differing key of two JSON values, with both sides."""
    for key, left, right in differing_keys(first, second):
        return f"{key}: {pair((side(left), side(right)), names)}" if key else pair((side(left), side(right)), names)
    return None


def side(value: Any) -> str:
    """One side of ``differing_keys`` in words."""
    return MISSING if value is NOTHING else shown(value)


def read_lines(path: Path, name: str) -> list[Any]:
    """The JSON values of a file's lines.

    Raises:
        DamagedError: a line is not JSON, or torn.
    """
    content = path.read_bytes()
    lines = content.split(b"\n")
    if lines.pop():
        raise DamagedError(f"its last line is torn ({name})")
    return [_read(line, name, f"line {number}") for number, line in enumerate(lines, 1)]


def read_points(path: Path, name: str) -> list[LoggedPoint] | None:
    """The training steps of ``trace.jsonl`` or ``history.json``; None where the file holds something else.

    Raises:
        DamagedError: it is not JSON.
    """
    values = read_lines(path, name) if path.suffix == ".jsonl" else _read(path.read_bytes(), name)
    return values if _is_points(values) else None


def first_step(
    first: Sequence[LoggedPoint], second: Sequence[LoggedPoint], keys: Sequence[str] | None = None
) -> tuple[int, LoggedPoint | None, LoggedPoint | None] | None:
    """The first training step at which two runs differ.

    Args:
        first: steps of one run.
        second: steps of the other.
        keys: what is compared; None for everything.

    Returns:
        The step's number and its record in both runs (None where a run has no such step); None where there is none.
    """
    left, right = ({int(point["step"]): point for point in points} for points in (first, second))
    for step in sorted(left.keys() | right.keys()):
        one, other = left.get(step), right.get(step)
        if one is None or other is None or _chosen(one, keys) != _chosen(other, keys):
            return step, one, other
    return None


def _sequence_difference(first: Any, second: Any, names: Names) -> str | None:
    if not (_is_points(first) and _is_points(second)):
        return None
    found = first_step(first, second)
    if found is None:
        return None
    step, one, other = found
    if one is None or other is None:
        present, lacking = names if other is None else names[::-1]
        return f"training step {step} is {MISSING} ({lacking}), not ({present})"
    parts = [f"{key} {pair((side(a), side(b)), names)}" for key, a, b in differing_keys(one, other)]
    return f"training step {step}: " + "; ".join(parts)


def _is_points(values: Any) -> bool:
    return (
        isinstance(values, list)
        and bool(values)
        and all(isinstance(value, dict) and type(value.get("step")) is int for value in values)
    )


def _chosen(point: LoggedPoint, keys: Sequence[str] | None) -> str:
    """What is compared, as text: equal text is equal bits, and NaN equals NaN."""
    return json.dumps(point if keys is None else {key: point.get(key) for key in keys}, sort_keys=True)


def _read(content: bytes, name: str, where: str = "it") -> Any:
    try:
        return json.loads(content)
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DamagedError(f"{where} is not valid JSON ({name}): {error}") from None

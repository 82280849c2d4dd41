"""Where two JSON values differ."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

NOTHING = object()
"""In the place of a value that one side does not have."""


def differing_keys(
    first: Any, second: Any, key: str = "", *, into_lists: bool = True
) -> Iterator[tuple[str, Any, Any]]:
    """Every differing leaf: its key as ``a.b[0].c``, and both values; ``NOTHING`` is a missing one.

    Args:
        first: one value.
        second: the other.
        key: where they lie.
        into_lists: whether lists are compared item by item; else a differing one is a leaf.
    """
    if isinstance(first, dict) and isinstance(second, dict):
        for name in sorted(first.keys() | second.keys()):
            inner = f"{key}.{name}" if key else str(name)
            yield from differing_keys(first.get(name, NOTHING), second.get(name, NOTHING), inner, into_lists=into_lists)
    elif into_lists and isinstance(first, list) and isinstance(second, list):
        for index in range(max(len(first), len(second))):
            sides = [values[index] if index < len(values) else NOTHING for values in (first, second)]
            yield from differing_keys(sides[0], sides[1], f"{key}[{index}]")
    elif type(first) is not type(second) or (first != second and repr(first) != repr(second)):  # NaN is not NaN
        yield key, first, second


def changed_keys(recorded: Any, present: Any) -> dict[str, str]:
    """Keys whose values differ → ``key (recorded -> present)``; a missing value is None, a list is one value."""
    found: dict[str, str] = {}
    for key, *sides in differing_keys(recorded, present, into_lists=False):
        before, now = (None if value is NOTHING else value for value in sides)
        if before != now:
            found[key] = f"{key} ({before} -> {now})"
    return found

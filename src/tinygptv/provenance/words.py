"""How a difference is worded: always both sides, each with its name behind it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

Names = tuple[str, str]
"""What the two sides are called, such as ``("lock", "now")``."""

MISSING = "missing"
LONGEST = 80


class DamagedError(Exception):
    """One of two files is not what its name says; the message tells why. It never leaves this package."""


def pair(sides: Iterable[object], names: Names) -> str:
    """Both sides of a difference."""
    first, second = sides
    return f"{first} ({names[0]}), {second} ({names[1]})"


def shown(value: Any) -> str:
    """A JSON value on one line, cut where it is long."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"

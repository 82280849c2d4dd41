"""What a check of the doctor gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "problem"]


@dataclass(frozen=True, slots=True)
class Check:
    """One finding."""

    name: str
    level: Level
    finding: str
    fix: str = ""

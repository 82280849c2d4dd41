"""The records that are left out: counts by reason, and the first of them by name, however many there are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Self

from tinygptv.data.source import Rejection

LISTED = 1000
"""Records, and reasons, that are kept by name: the first ones in the order of the alphabet, whoever finds them when."""


@dataclass(slots=True)
class Rejections:
    """A bounded list of rejected records; two of them that met the same records in any order are equal."""

    count: int = 0
    first: list[Rejection] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, found: Iterable[Rejection]) -> None:
        """Count records that are left out."""
        for rejection in found:
            self.count += 1
            self.first.append(rejection)
            self.reasons[rejection["reason"]] += 1
            self._bound(2 * LISTED)

    def merge(self, other: Rejections) -> None:
        """Count those of another list, too."""
        self.count += other.count
        self.first.extend(other.first)
        self.reasons.update(other.reasons)
        self._bound(2 * LISTED)

    def to_json(self) -> dict[str, Any]:
        """As ``rejected.json`` has it; ``from_json`` reads it."""
        self._bound(LISTED)
        return {"rejected": self.count, "reasons": dict(self.reasons), "listed": len(self.first), "records": self.first}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """The list that gave this JSON."""
        return cls(content["rejected"], list(content["records"]), Counter(content["reasons"]))

    def _bound(self, most: int) -> None:
        """Forget what cannot be among the first: what is left out once is so for ever, so that counts are exact."""
        if len(self.first) > most or most == LISTED:
            self.first = sorted(self.first, key=lambda item: tuple(sorted(item.items())))[:LISTED]
        if len(self.reasons) > most:
            self.reasons = Counter({reason: self.reasons[reason] for reason in sorted(self.reasons)[:LISTED]})

"""The gate between challenger and champion: pure functions on the numbers of ``quantize.json``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tinygptv.config import Gate


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the decision."""

    check: str
    value: float | None
    limit: float
    ok: bool
    reason: str
    """Empty where the check is passed."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What the gate says, and why."""

    rows: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether every check is passed; a gate without checks lets nothing through."""
        return bool(self.rows) and all(row.ok for row in self.rows)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it was refused; empty when it passed."""
        return tuple(row.reason for row in self.rows if not row.ok) or (
            () if self.passed else ("the gate of the configuration checks nothing; set register.gate.min_value",)
        )

    def as_json(self) -> dict[str, Any]:
        """The decision for a report or a tag; values that are not numbers become null."""
        return {"passed": self.passed, "rows": [asdict(row) for row in self.rows], "reasons": list(self.reasons)}


def decide(challenger: Mapping[str, Any], champion: Mapping[str, Any] | None, gate: Gate) -> Decision:
    """Compare a challenger with the limits and with the present champion.

    Args:
        challenger: ``quantize.json``: ``benchmarks`` (name → value, n) and ``agreement``.
        champion: the ``quantize.json`` of the present champion, or None where there is none.
        gate: the limits.
    """
    rows = [_at_least(name, _entry(challenger, name), least) for name, least in sorted(gate.min_value.items())]
    rows.append(_agreement(challenger.get("agreement"), gate.min_agreement))
    if champion is not None:
        names = sorted(champion.get("benchmarks") or {})
        if not names:
            problem = "its version carries no numbers to compare with; delete its alias to start afresh"
            rows.append(_row("champion", None, 0.0, problem))
        for name in names:
            rows.extend(_against(name, _entry(challenger, name), _entry(champion, name), gate.max_drop))
    return Decision(tuple(rows))


def _entry(report: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    entry = (report.get("benchmarks") or {}).get(name)
    return entry if isinstance(entry, Mapping) else {}


def _number(value: Any) -> float | None:
    """A finite number, or None for everything else: missing, NaN, infinite, text, a truth value."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _row(check: str, value: float | None, limit: float, problem: str) -> Check:
    return Check(check, value, limit, not problem, f"{check}: {problem}" if problem else "")


def _at_least(name: str, entry: Mapping[str, Any], least: float) -> Check:
    value = _number(entry.get("value"))
    if not entry:
        problem = "the benchmark is missing"
    elif value is None:
        problem = f"value {entry.get('value')} is not a number"
    elif _count(entry.get("n")) is None:
        problem = f"n {entry.get('n')} is not a count of samples"
    elif value < least:
        problem = f"{value:.4f} is below {least:.4f}"
    else:
        problem = ""
    return _row(name, value, least, problem)


def _agreement(agreement: Any, least: float) -> Check:
    value = _number(agreement.get("value") if isinstance(agreement, Mapping) else agreement)
    if value is None:
        problem = f"value {agreement} is not a number"
    elif value < least:
        problem = f"{value:.4f} is below {least:.4f}"
    else:
        problem = ""
    return _row("agreement", value, least, problem)


def _against(name: str, entry: Mapping[str, Any], former: Mapping[str, Any], max_drop: float) -> list[Check]:
    """A challenger must be measured on at least as many samples as the champion, and not be worse."""
    value, reference = _number(entry.get("value")), _number(former.get("value"))
    count, samples = _count(entry.get("n")), _count(former.get("n"))
    rows = []
    if reference is not None:
        limit = reference - max_drop
        if value is None:
            problem = f"value {entry.get('value')} is not a number" if entry else "the benchmark is missing"
        elif value < limit - 1e-12:  # the limit itself is allowed, whatever the subtraction rounds to
            problem = f"{value:.4f} is more than {max_drop:.4f} below the champion's {reference:.4f}"
        else:
            problem = ""
        rows.append(_row(f"{name} against champion", value, limit, problem))
    if samples is not None:
        fewer = count is None or count < samples
        problem = f"{entry.get('n')} samples, the champion had {samples}" if fewer else ""
        rows.append(_row(f"{name} samples", count, samples, problem))
    return rows

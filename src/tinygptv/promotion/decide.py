"""The gate: pure functions from what was found and measured to a table of checks with reasons."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tinygptv.config import Gate


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the decision."""

    check: str
    value: float | None
    limit: float | None
    ok: bool
    reason: str
    """Empty where the check is passed."""
    note: str = ""
    """What else was seen, passed or not."""


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
        return tuple(row.reason for row in self.rows if not row.ok) or (() if self.passed else ("nothing was checked",))

    def as_json(self) -> dict[str, Any]:
        """The decision for a report; values that are not numbers are null already."""
        return {"passed": self.passed, "rows": [asdict(row) for row in self.rows], "reasons": list(self.reasons)}


@dataclass(frozen=True, slots=True)
class Asked:
    """The questions of a contest, in their order."""

    ids: Sequence[str]
    benchmarks: Sequence[str]
    images: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one package did with them."""

    ids: Sequence[str]
    """The questions that it answered."""
    right: Sequence[bool]
    package_bytes: int
    latency_seconds: float
    """Median time of a question asked alone."""
    agreement: float | None = None
    """Share of answers equal to the unquantized model's, where those are known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What is known of a package before anybody asks it."""

    broken: Sequence[tuple[str, str]] = ()
    """Broken links of its lineage: place and problem."""
    package: Sequence[str] = ()
    """In what it is not the package that the pipeline made."""
    seen: int = 0
    """Test images that are among those it was trained with."""
    rolled_back: str | None = None
    """When it was rolled back, where nobody asked for this very version."""


@dataclass(frozen=True, slots=True)
class Registered:
    """The numbers that a version carries; they are compared with those measured, never trusted."""

    values: Mapping[str, Any] = field(default_factory=dict)
    counts: Mapping[str, Any] = field(default_factory=dict)


def on_credentials(found: Credentials) -> tuple[Check, ...]:
    """What must hold before a package is asked anything."""
    places = ", ".join(dict.fromkeys(place for place, _ in found.broken))
    first = f"broken at {places}; {found.broken[0][0]}: {found.broken[0][1]}" if found.broken else ""
    rows = [
        _row("lineage", len(found.broken), 0, first, note="broken links"),
        _row("package", len(found.package), 0, "; ".join(found.package), note="differences from what was made"),
        _row(
            "test split",
            found.seen,
            0,
            f"{found.seen} images were trained with" if found.seen else "",
            "test images trained with",
        ),
    ]
    if found.rolled_back is not None:
        problem = f"rolled back at {found.rolled_back}; `tinygptv promote VERSION` promotes it all the same"
        rows.append(_row("rollback", None, None, problem))
    return tuple(rows)


def on_contest(
    asked: Asked,
    challenger: Measured,
    champion: Measured | None,
    registered: Registered,
    former: Registered,
    gate: Gate,
) -> tuple[Check, ...]:
    """Judge what was measured.

    Args:
        asked: the questions.
        challenger: what the challenger did with them.
        champion: what the champion did; None where there is none.
        registered: the numbers that the challenger was registered with.
        former: those of the champion.
        gate: the limits.
    """
    rows = [_same_questions(asked, challenger, champion)]
    if not rows[0].ok:
        return tuple(rows)
    for name, least in sorted(gate.min_value.items()):
        places = [place for place, benchmark in enumerate(asked.benchmarks) if benchmark == name]
        if not places:
            rows.append(_row(name, None, least, "no question of this benchmark was asked"))
            continue
        right = [challenger.right[place] for place in places]
        value = sum(right) / len(right)
        rows.append(_at_least(name, value, least, f"n {len(right)}"))
        rows.append(_as_registered(name, registered.values.get(name), value, gate.margin[name]))
        if champion is not None:
            others = [champion.right[place] for place in places]
            rows.append(_against(name, right, others, [asked.images[place] for place in places], gate))
            rows.append(_samples(name, len(right), former.counts.get(name)))
    return (*rows, *_on_package(challenger.agreement, challenger.package_bytes, challenger.latency_seconds, gate))


def on_report(report: Mapping[str, Any], package_bytes: int, gate: Gate) -> tuple[Check, ...]:
    """Judge a package by the step ``quantize``'s own report, where there is no champion to compare it with.

    Args:
        report: ``quantize.json``: ``benchmarks`` (name → value, n) and ``agreement``.
        package_bytes: size of the package.
        gate: the limits.
    """
    rows = [_reported(name, _entry(report, name), least) for name, least in sorted(gate.min_value.items())]
    agreement = report.get("agreement")
    value = agreement.get("value") if isinstance(agreement, Mapping) else agreement
    return (*rows, *_on_package(value, package_bytes, None, gate))


def not_measured(who: str, why: str) -> Check:
    """A package that could not be asked."""
    return _row(who, None, None, why)


def registered_numbers(report: Mapping[str, Any], figures: Mapping[str, str]) -> Registered:
    """The numbers of a version's tags, whatever somebody has made of them.

    Args:
        report: the tag ``report``.
        figures: benchmark → the text of its tag ``metric.<benchmark>``, which must say the same.
    """
    benchmarks = report.get("benchmarks")
    entries = {name: _entry(report, name) for name in benchmarks} if isinstance(benchmarks, Mapping) else {}
    values = {name: entry.get("value") for name, entry in entries.items()}
    told = {name: figures.get(name) for name in values}
    return Registered(
        {name: value if told[name] == str(value) else f"{value} and {told[name]}" for name, value in values.items()},
        {name: entry.get("n") for name, entry in entries.items()},
    )


def _same_questions(asked: Asked, challenger: Measured, champion: Measured | None) -> Check:
    problem = ""
    for who, measured in (("challenger", challenger), ("champion", champion)):
        if measured is None:
            continue
        if len(measured.ids) != len(asked.ids) or len(measured.right) != len(asked.ids):
            problem = f"the {who} answered {len(measured.ids)} of {len(asked.ids)} questions"
        elif list(measured.ids) != list(asked.ids):
            problem = f"the {who} answered other questions"
    if not asked.ids:
        problem = "there is no question"
    return _row("questions", len(challenger.ids), len(asked.ids), problem, "the same ones in the same order")


def _against(name: str, right: Sequence[bool], others: Sequence[bool], images: Sequence[str], gate: Gate) -> Check:
    """Non-inferiority: even the lower end of the interval is no worse than the margin allows."""
    import numpy as np

    from tinygptv.evaluation.benchmarks.seam import Metric, each, mean
    from tinygptv.evaluation.statistics import paired

    share = Metric(name=name, variant="right or wrong", columns=each(lambda *_: ()), value=mean)
    first, second = (np.asarray(answers, dtype=np.float64)[:, None] for answers in (right, others))
    found, limit = paired(share, first, second, images, gate.resamples, gate.seed), -gate.margin[name]
    note = f"difference {found.value:+.4f}, 95 % {found.low:+.4f} to {found.high:+.4f}"
    worse = found.low < limit - 1e-12  # the limit itself is allowed, whatever a division rounds to
    problem = f"{note}: may be worse by more than {gate.margin[name]:.4f}" if worse else ""
    return _row(f"{name} against champion", found.low, limit, problem, note)


def _samples(name: str, count: int, former: Any) -> Check:
    """A smaller test set than the champion's is refused, however good the numbers on it are."""
    if _count(former) is None:
        problem = f"the champion's version carries no count of samples ({former}); delete its alias to start afresh"
        return _row(f"{name} samples", count, None, problem)
    problem = f"{count} samples, the champion had {former}" if count < former else ""
    return _row(f"{name} samples", count, former, problem)


def _as_registered(name: str, registered: Any, measured: float, margin: float) -> Check:
    """A version that carries other numbers than it reaches was edited, or measured on something else."""
    value = _number(registered)
    if value is None:
        problem = f"the version carries {registered}, which is not a number"
    elif abs(value - measured) > margin + 1e-6:  # numbers on record have six decimals
        problem = f"the version carries {value:.4f}, measured were {measured:.4f}"
    else:
        problem = ""
    return _row(f"{name} as registered", value, measured, problem)


def _on_package(agreement: Any, package_bytes: int, latency: float | None, gate: Gate) -> tuple[Check, ...]:
    too_large = f"{package_bytes:,} bytes are more than {gate.max_bytes:,}" if package_bytes > gate.max_bytes else ""
    rows = [
        _at_least("agreement", agreement, gate.min_agreement, "with the unquantized model"),
        _row("bytes", package_bytes, gate.max_bytes, too_large),
    ]
    if latency is not None:
        rows.append(_latency(latency, gate.max_latency_seconds))
    return tuple(rows)


def _latency(seconds: float, most: float | None) -> Check:
    value = _number(seconds)
    if value is None or value <= 0:
        problem = f"value {seconds} is not a time"
    elif most is not None and value > most:
        problem = f"{value:.3f} seconds a question are more than {most:.3f}"
    else:
        problem = ""
    return _row("latency", value, most, problem, "seconds a question" if most is not None else "not judged")


def _reported(name: str, entry: Mapping[str, Any], least: float) -> Check:
    if not entry:
        return _row(name, None, least, "the benchmark is missing")
    if _count(entry.get("n")) is None:
        return _row(name, _number(entry.get("value")), least, f"n {entry.get('n')} is not a count of samples")
    return _at_least(name, entry.get("value"), least, f"n {entry['n']}")


def _at_least(name: str, found: Any, least: float, note: str = "") -> Check:
    value = _number(found)
    if value is None:
        problem = f"value {found} is not a number"
    elif value < least:
        problem = f"{value:.4f} is below {least:.4f}"
    else:
        problem = ""
    return _row(name, value, least, problem, note)


def _entry(report: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    benchmarks = report.get("benchmarks")
    entry = benchmarks.get(name) if isinstance(benchmarks, Mapping) else None
    return entry if isinstance(entry, Mapping) else {}


def _number(value: Any) -> float | None:
    """A finite number, or None for everything else: missing, NaN, infinite, text, a truth value."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _row(check: str, value: float | None, limit: float | None, problem: str, note: str = "") -> Check:
    return Check(check, value, limit, not problem, f"{check}: {problem}" if problem else "", note)

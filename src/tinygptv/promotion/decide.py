"""The gate: pure functions from what was measured to a table of checks with reasons.

A benchmark's number is that of its first official metric, whatever it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from tinygptv.config import Gate
from tinygptv.promotion.registered import Registered, entry_of, finite, samples

if TYPE_CHECKING:
    from tinygptv.evaluation.tally import DecidingColumns


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
    champion: float | None = None
    """The champion's value of the same, where both were asked."""
    start: float | None = None
    """That of the model before its first stage, on the held-out slice of its data."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The questions of a contest."""

    count: int
    digest: str
    """Of all of them, in their order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one package did with them."""

    answered: int
    """How many questions."""
    digest: str
    """Of these, in their order."""
    columns: Mapping[str, DecidingColumns]
    """Benchmark → what its metric keeps of each question, for those that were asked."""
    package_bytes: int
    latency_seconds: float
    """Median time of a question asked alone."""
    agreement: float | None = None
    """Share of answers equal to the unquantized model's, where those are known."""


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
        if name not in challenger.columns:
            rows.append(row(name, None, least, "no question of this benchmark was asked"))
            continue
        value, counts, note = _number_of(challenger.columns[name])
        best = _number_of(champion.columns[name])[0] if champion is not None else None
        reached = row(name, None, least, note) if value is None else _at_least(name, value, least, note)
        rows.append(_beside(reached, best, registered.start))
        rows.append(_as_registered(name, registered.values.get(name), value, gate.margin[name]))
        if champion is not None:
            rows.append(_against(name, challenger.columns[name], champion.columns[name], gate))
            rows.append(_samples(name, counts, former.counts.get(name)))
    return (*rows, *_on_package(challenger.agreement, challenger.package_bytes, challenger.latency_seconds, gate))


def on_report(
    report: Mapping[str, Any], package_bytes: int, gate: Gate, start: Mapping[str, Any] | None = None
) -> tuple[Check, ...]:
    """Judge a package by the step ``quantize``'s own report, where there is no champion to compare it with.

    Args:
        report: ``quantize.json``: ``benchmarks`` (name → value, n) and ``agreement``.
        package_bytes: size of the package.
        gate: the limits.
        start: benchmark → what the model reached before its first stage.
    """
    rows = [
        _beside(_reported(name, entry_of(report, name), least), None, start or {})
        for name, least in sorted(gate.min_value.items())
    ]
    agreement = report.get("agreement")
    value = agreement.get("value") if isinstance(agreement, Mapping) else agreement
    return (*rows, *_on_package(value, package_bytes, None, gate))


def row(check: str, value: float | None, limit: float | None, problem: str, note: str = "") -> Check:
    """A check, passed where there is no problem."""
    return Check(check, value, limit, not problem, f"{check}: {problem}" if problem else "", note)


def not_measured(who: str, why: str) -> Check:
    """A package that could not be asked."""
    return row(who, None, None, why)


def _same_questions(asked: Asked, challenger: Measured, champion: Measured | None) -> Check:
    problem = ""
    for who, measured in (("challenger", challenger), ("champion", champion)):
        if measured is None:
            continue
        if measured.answered != asked.count:
            problem = f"the {who} answered {measured.answered} of {asked.count} questions"
        elif measured.digest != asked.digest:
            problem = f"the {who} answered other questions"
    if not asked.count:
        problem = "there is no question"
    return row("questions", challenger.answered, asked.count, problem, "the same ones in the same order")


def _number_of(found: DecidingColumns) -> tuple[float | None, int, str]:
    """A benchmark's number, how many questions count, and both in words."""
    from tinygptv.evaluation.statistics import counted, number

    value, counts = number(found.metric, found.columns_QC), int(counted(found.columns_QC).sum())
    told = [found.metric.name, f"n {counts}"]
    if counts < len(found.columns_QC):
        told.append(f"{len(found.columns_QC) - counts} do not count")
    if value is None:
        told.append(f"undefined: {found.metric.undefined or 'no question counts'}")
    return value, counts, ", ".join(told)


def _beside(judged: Check, champion: float | None, start: Mapping[str, Any]) -> Check:
    """A check with what is not judged: the champion's value, and that of the model before its first stage."""
    return replace(judged, champion=champion, start=finite(start.get(judged.check)))


def _against(name: str, challenger: DecidingColumns, champion: DecidingColumns, gate: Gate) -> Check:
    """Non-inferiority: even the lower end of the interval is no worse than the margin allows."""
    from tinygptv.evaluation.statistics import counted, paired

    check, limit = f"{name} against champion", -gate.margin[name]
    first_QC, second_QC = challenger.columns_QC, champion.columns_QC
    lost = int((counted(second_QC) & ~counted(first_QC)).sum())
    if lost:  # what does not count is not wrong either
        return row(check, None, limit, f"{lost} answers do not count where the champion's do")
    try:
        found = paired(challenger.metric, first_QC, second_QC, challenger.images_Q, gate.resamples, gate.seed)
    except ValueError as error:  # the metric is undefined, for one of them or in too many resamples
        return row(check, None, limit, str(error))
    note = f"difference {found.value:+.4f}, 95 % {found.low:+.4f} to {found.high:+.4f}"
    worse = found.low < limit - 1e-12  # the limit itself is allowed, whatever a division rounds to
    problem = f"{note}: may be worse by more than {gate.margin[name]:.4f}" if worse else ""
    return row(check, found.low, limit, problem, note)


def _samples(name: str, count: int, former: Any) -> Check:
    """A smaller test set than the champion's is refused, however good the numbers on it are."""
    if samples(former) is None:
        problem = f"the champion's version carries no count of samples ({former}); delete its alias to start afresh"
        return row(f"{name} samples", count, None, problem)
    problem = f"{count} samples, the champion had {former}" if count < former else ""
    return row(f"{name} samples", count, former, problem)


def _as_registered(name: str, registered: Any, measured: float | None, margin: float) -> Check:
    """A version that carries other numbers than it reaches was edited, or measured on something else."""
    value = finite(registered)
    if value is None:
        problem = f"the version carries {registered}, which is not a number"
    elif measured is None:
        problem = f"the version carries {value:.4f}, measured was no number"
    elif abs(value - measured) > margin + 1e-6:  # numbers on record have six decimals
        problem = f"the version carries {value:.4f}, measured were {measured:.4f}"
    else:
        problem = ""
    return row(f"{name} as registered", value, measured, problem)


def _on_package(agreement: Any, package_bytes: int, latency: float | None, gate: Gate) -> tuple[Check, ...]:
    too_large = f"{package_bytes:,} bytes are more than {gate.max_bytes:,}" if package_bytes > gate.max_bytes else ""
    rows = [
        _at_least("agreement", agreement, gate.min_agreement, "with the unquantized model"),
        row("bytes", package_bytes, gate.max_bytes, too_large),
    ]
    if latency is not None:
        rows.append(_latency(latency, gate.max_latency_seconds))
    return tuple(rows)


def _latency(seconds: float, most: float | None) -> Check:
    value = finite(seconds)
    if value is None or value <= 0:
        problem = f"value {seconds} is not a time"
    elif most is not None and value > most:
        problem = f"{value:.3f} seconds a question are more than {most:.3f}"
    else:
        problem = ""
    return row("latency", value, most, problem, "seconds a question" if most is not None else "not judged")


def _reported(name: str, entry: Mapping[str, Any], least: float) -> Check:
    if not entry:
        return row(name, None, least, "the benchmark is missing")
    if samples(entry.get("n")) is None:
        return row(name, finite(entry.get("value")), least, f"n {entry.get('n')} is not a count of samples")
    return _at_least(name, entry.get("value"), least, f"n {entry['n']}")


def _at_least(name: str, found: Any, least: float, note: str = "") -> Check:
    value = finite(found)
    if value is None:
        problem = f"value {found} is not a number"
    elif value < least:
        problem = f"{value:.4f} is below {least:.4f}"
    else:
        problem = ""
    return row(name, value, least, problem, note)

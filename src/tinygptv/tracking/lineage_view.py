"""A chain of lineage for people: text for a terminal of 100 columns, Markdown for the description in the registry."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from tinygptv.tracking.chain import Chain, Link, Version

WIDTH = 100
LABEL = 15
SHORT = 12
"""Digits of a digest that is there to be compared at a glance."""
ABSENT = "not recorded"
SHOWN = ("python", "torch", "processor", "cpu_capability", "gpu", "gpu_driver")
"""What is shown of an environment, in this order; JSON has all of it."""
NAMED = {"python": "python", "torch": "torch", "gpu_driver": "driver"}
"""Values that need their name beside them."""


def text(chain: Chain) -> str:
    """The chain for a terminal."""
    parts = [list(_about(chain.version))] if chain.version else []
    parts += [list(_link(link)) for link in chain.links]
    problems = [_row("BROKEN", problem) for problem in chain.problems]
    return "\n\n".join("\n".join(part) for part in [*parts, [*problems, _end(chain)]])


def markdown(chain: Chain) -> list[str]:
    """The chain as lines of a table with a row a link, flow runs and environments in full, and what is broken."""
    lines = [
        "| step | DVC md5 of its output | commit | configuration | environment | MLflow run | Prefect flow run | end |",
        "|---|---|---|---|---|---|---|---|",
    ]
    environments: dict[str, str] = {}
    flow_runs: dict[str, str] = {}
    for link in chain.links:
        digest = (link.environment_sha256 or "")[:SHORT]
        if digest and link.environment is not None:
            environments[digest] = _short(link.environment)
        flow_run = (link.flow_run_id or "")[:SHORT]
        if link.flow_run_id:
            flow_runs[flow_run] = link.flow_run_id
        commit = f"{_code((link.git_sha or '')[:SHORT])}{' dirty' if link.git_dirty else ''}"
        cells = [
            link.step,
            _code(link.md5),
            commit,
            _code((link.config_sha256 or "")[:SHORT]),
            _code(digest),
            _code(link.run_id),
            _code(flow_run),
            _time(link.finished_at) if link.finished_at else "",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", *(f"Prefect flow run `{short}`: `{whole}`." for short, whole in flow_runs.items())]
    lines += ["", *(f"Environment `{digest}`: {shown}." for digest, shown in environments.items())]
    broken = [f"- {place}: {problem}" for place, problem in chain.broken]
    return [*lines, *(["", "Broken links:", "", *broken] if broken else [])]


def promotion(version: Version) -> str:
    """Who made the version champion, and when."""
    if version.promoted_by is None and version.promoted_at is None:
        known = "champion" in version.aliases or "previous" in version.aliases
        return ABSENT if known else "never"
    at = _time(version.promoted_at) if version.promoted_at else f"time {ABSENT}"
    return f"by {version.promoted_by or 'unknown'}, {at}"


def figures(version: Version) -> str:
    """The numbers on which it was judged."""
    return ", ".join(f"{name} {value}" for name, value in version.metrics.items()) or ABSENT


def gate(version: Version) -> str:
    """What the gate said."""
    if version.gate_passed is None:
        return ABSENT
    return "passed" if version.gate_passed else f"refused: {version.gate_reasons or f'reasons {ABSENT}'}"


def _about(version: Version) -> Iterator[str]:
    aliases = f" ({', '.join(version.aliases)})" if version.aliases else ""
    yield f"{version.name} version {version.version}{aliases}"
    yield _row("promoted", promotion(version))
    yield _row("gate", gate(version))
    yield _row("figures", figures(version))
    yield _row("package", f"sha256 {version.package_sha256 or ABSENT}")
    yield _row("registered", f"{_time(version.created_at)}, profile {version.profile or ABSENT}")
    yield from (_row("BROKEN", problem) for problem in version.problems)


def _link(link: Link) -> Iterator[str]:
    made = f"md5 {link.md5}" if link.md5 else ""
    when = _time(link.finished_at) if link.finished_at else link.status or ""
    yield f"<- {link.step:<{LABEL - 3}}{made:<42}{when}{f' by {link.user}' if link.user else ''}".rstrip()
    if link.status is not None:
        changes = {True: " (dirty)", False: "", None: f" (dirty or not: {ABSENT})"}[link.git_dirty]
        configuration = link.config_sha256[:SHORT] if link.config_sha256 else ABSENT
        yield _row("commit", f"{link.git_sha or ABSENT}{changes}, configuration {configuration}")
        shown = _short(link.environment) if link.environment is not None else ABSENT
        yield _row("environment", f"{link.environment_sha256[:SHORT]}: {shown}" if link.environment_sha256 else shown)
        flow = f"flow run {link.flow_run_id}" if link.flow_run_id else "not in a flow"
        yield _row("run", f"{link.run_id}, {flow}")
        if link.runs > 1:
            yield _row("", f"{link.runs} finished runs made the same bytes; this one fits the chain best")
        yield _row("read", ", ".join(link.inputs) or "no other step")
    yield from (_row("BROKEN", problem) for problem in link.problems)


def _end(chain: Chain) -> str:
    if not chain.broken:
        return f"complete: {_count(len(chain.links), 'link')}"
    places = dict.fromkeys(place for place, _ in chain.broken)
    return _row("BROKEN", f"{_count(len(chain.broken), 'problem')}, in: {', '.join(places)}", indent=0)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _row(label: str, value: str, indent: int = 3) -> str:
    first = f"{' ' * indent}{label}".ljust(LABEL + indent)
    return textwrap.fill(
        value,
        WIDTH,
        initial_indent=first,
        subsequent_indent=" " * len(first),
        break_on_hyphens=False,
        break_long_words=False,
    )


def _short(environment: Mapping[str, Any]) -> str:
    found = [(key, environment[key]) for key in SHOWN if environment.get(key) not in (None, "")]
    return ", ".join(f"{NAMED[key]} {value}" if key in NAMED else str(value) for key, value in found)


def _time(iso: str) -> str:
    """ISO 8601 as people read it; what is no time is shown as it is."""
    try:
        return f"{datetime.fromisoformat(iso):%Y-%m-%d %H:%M:%S} UTC"
    except ValueError:
        return iso


def _code(value: str | None) -> str:
    return f"`{value}`" if value else ""

"""The pytest plugin of the drills: the marker ``drill``, the fixture ``trials``, and the table of results.

Loaded by tests/conftest.py, so that a test anywhere may be tied to a drill. tests/drills/conftest.py says how.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tinygptv.ground.files import write_json

ASKED_FOR = (*range(1, 25), 26, 27, *range(29, 33))
"""Drills that ``make drills`` must have a test for."""
PROPERTY = "drill"
PASS, FAIL, SKIPPED, MISSING = "pass", "FAIL", "skipped", "no test"


@dataclass(slots=True)
class Trials:
    """What the fixture ``trials`` gives: the number that takes the place of the marker's."""

    count: int = 0


@dataclass(slots=True)
class Line:
    """One line of the table."""

    number: int
    what: str
    trials: int = 0
    outcomes: dict[str, str] = field(default_factory=dict)
    """Result by test."""

    @property
    def result(self) -> str:
        """The worst of the tests' results."""
        return next((word for word in (FAIL, SKIPPED) if word in self.outcomes.values()), PASS)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--drill-report", metavar="PATH", type=Path, help="write the drills' table as JSON")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Table(config), "drill-table")


@pytest.fixture
def trials(request: pytest.FixtureRequest) -> Trials:
    """How many trials the test has made, where only the test knows."""
    counted = Trials()
    request.node.stash[COUNTED] = counted
    return counted


COUNTED = pytest.StashKey[Trials]()


def entry(number: int, what: str, trials: int = 1) -> dict[str, Any]:
    """The marker's arguments; a wrong call is a TypeError that names them."""
    if number not in ASKED_FOR or trials < 1:
        raise ValueError(f"drill({number}, {what!r}, trials={trials}): an unknown drill, or no trial")
    return {"number": number, "what": what, "trials": trials}


def pytest_itemcollected(item: pytest.Item) -> None:
    for mark in item.iter_markers("drill"):
        entry(*mark.args, **mark.kwargs)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Write the marker into the test's report, from where it also comes back from pytest-xdist's workers."""
    report: pytest.TestReport = yield
    for mark in item.iter_markers("drill"):
        values = entry(*mark.args, **mark.kwargs)
        if COUNTED in item.stash:
            values["trials"] = item.stash[COUNTED].count
        report.user_properties.append((PROPERTY, values))
    return report


class Table:
    """Collects the reports and shows them at the end."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.path: Path | None = config.getoption("--drill-report")
        self.lines: dict[tuple[int, str], Line] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call" and report.outcome == "passed":
            return
        for name, values in report.user_properties:
            if name != PROPERTY:
                continue
            key = values["number"], values["what"]
            line = self.lines.setdefault(key, Line(*key))
            if report.when == "call":
                line.trials += values["trials"]
            result = {"passed": PASS, "skipped": SKIPPED}.get(report.outcome, FAIL)
            if line.outcomes.get(report.nodeid) != FAIL:
                line.outcomes[report.nodeid] = result

    def rows(self) -> list[dict[str, Any]]:
        """The table, with a line for every drill that no test is tied to."""
        found = [
            {"drill": line.number, "what": line.what, "trials": line.trials, "result": line.result}
            | {"tests": sorted(line.outcomes)}
            for line in self.lines.values()
        ]
        absent = set(ASKED_FOR) - {row["drill"] for row in found}
        found += [{"drill": n, "what": "", "trials": 0, "result": MISSING, "tests": []} for n in absent]
        return sorted(found, key=lambda row: (row["drill"], row["what"]))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the table; a drill that no test ran makes ``make drills`` fail."""
        if self.path is None or hasattr(self.config, "workerinput"):
            return
        from tinygptv.ground.runtime import environment

        write_json(self.path.absolute(), {"drills": self.rows(), "environment": environment()})
        if session.exitstatus == pytest.ExitCode.OK and any(row["result"] != PASS for row in self.rows()):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.path is None:
            return
        rows = [("drill", "what", "trials", "result")]
        rows += [tuple(str(row[name]) for name in rows[0]) for row in self.rows()]
        wide = [max(len(row[column]) for row in rows) for column in range(4)]
        terminalreporter.section("drills")
        for drill, what, trials, result in rows:
            terminalreporter.write_line(
                f"{drill:>{wide[0]}}  {what:<{wide[1]}}  {trials:>{wide[2]}}  {result}", red=result in (FAIL, MISSING)
            )
        terminalreporter.write_line(f"written to {self.path}")

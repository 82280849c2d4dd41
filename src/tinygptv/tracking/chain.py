"""A chain of lineage as plain data: where it begins, the version, a link a step, and all that is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from tinygptv.tracking import facts
from tinygptv.tracking.version_tags import report_of

NEEDED_TAGS = ("dvc.md5", "git.sha", "package.sha256", "gate.passed", "gate.reasons")


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Where a chain begins: a version, a run, or a step with the digest of its output."""

    subject: str
    """As the user named it."""
    version: tuple[str, str] | None = None
    """Registered model and number."""
    run_id: str | None = None
    step: str | None = None
    md5: str | None = None
    problems: tuple[str, ...] = ()
    """What is wrong with the first link already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A registered version: who promoted it, on which figures. None: not on record."""

    name: str
    version: str
    aliases: tuple[str, ...]
    profile: str | None
    git_sha: str | None
    package_sha256: str | None
    created_at: str
    promoted_by: str | None
    promoted_at: str | None
    gate_passed: bool | None
    gate_reasons: str | None
    metrics: Mapping[str, str]
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A step's output and the run that made it. None: not on record."""

    step: str
    md5: str | None = None
    run_id: str | None = None
    status: str | None = None
    finished_at: str | None = None
    runs: int = 0
    """Finished runs that made the same bytes."""
    git_sha: str | None = None
    git_dirty: bool | None = None
    config_sha256: str | None = None
    environment: Mapping[str, Any] | None = None
    environment_sha256: str | None = None
    flow_run_id: str | None = None
    user: str | None = None
    inputs: Mapping[str, str] = field(default_factory=dict)
    """Step → digest of its output that the run read."""
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """A version, where there is one, and its links, the last step first."""

    subject: str
    version: Version | None = None
    links: tuple[Link, ...] = ()
    problems: tuple[str, ...] = ()
    """What is wrong with the whole."""

    @property
    def broken(self) -> tuple[tuple[str, str], ...]:
        """Place and problem of everything that is wrong, in the chain's order."""
        found = [("lineage", problem) for problem in self.problems]
        found += [("version", problem) for problem in self.version.problems] if self.version else []
        return tuple(found + [(link.step, problem) for link in self.links for problem in link.problems])

    def as_json(self) -> dict[str, Any]:
        """Everything, for programs."""
        return {"complete": not self.broken, **asdict(self), "broken": [list(entry) for entry in self.broken]}


def version_of(found: Any) -> Version:
    """The record of MLflow's ``ModelVersion``."""
    tags = dict(found.tags)
    metrics = {key.removeprefix("metric."): value for key, value in sorted(tags.items()) if key.startswith("metric.")}
    measured = report_of(tags).get("benchmarks") != {}  # nothing was, where no benchmark asks the profile's data
    missing = [tag for tag in NEEDED_TAGS if tag not in tags] + (["metric.*"] if measured and not metrics else [])
    problems = (f"it has no tag {', '.join(missing)}",) if missing else ()
    return Version(
        name=found.name,
        version=str(found.version),
        aliases=tuple(sorted(found.aliases)),
        profile=tags.get("profile"),
        git_sha=tags.get("git.sha"),
        package_sha256=tags.get("package.sha256"),
        created_at=facts.iso(found.creation_timestamp / 1000),
        promoted_by=tags.get("promoted.by"),
        promoted_at=tags.get("promoted.at"),
        gate_passed={"true": True, "false": False}.get(tags.get("gate.passed", "")),
        gate_reasons=tags.get("gate.reasons"),
        metrics=metrics,
        problems=problems,
    )

"""``tinygptv doctor``: what may stand in the way on this machine, and what to do about it.

Each check is a function that returns findings; a fix is a command or one plain instruction. Nothing here changes
anything, and torch is imported only where there is a manifest to compare this environment with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from tinygptv.doctor import environment, locks, lost, machine, objects, packages, registry, remotes
from tinygptv.doctor.findings import Finding
from tinygptv.ground.tables import plain_table

__all__ = ["Finding", "examine", "has_problem", "report"]


def examine(root: Path, *, deep: bool = False, manifest: Path | None = None) -> list[Finding]:
    """Run every check on a checkout.

    Args:
        root: the checkout.
        deep: read DVC's whole cache and every output, however long it takes.
        manifest: compare the environment with this file's instead, and do nothing else.

    Raises:
        UserError: the manifest is missing or records no environment.
    """
    if manifest is not None:
        return [environment.compare_with(manifest)]
    checks: tuple[Callable[[Path], Iterator[Finding]], ...] = (
        packages.python,
        packages.pins,
        packages.ceilings,
        packages.unwanted,
        packages.programs,
        machine.disk,
        machine.size,
        machine.gpu,
        machine.writable,
        environment.recorded,
        locks.dvc_locks,
        partial(objects.cache, deep=deep),
        lost.outputs,
        remotes.verified,
        registry.versions,
    )
    return [finding for check in checks for finding in check(root)]


def has_problem(findings: list[Finding]) -> bool:
    """Whether something must be mended before the pipeline can work."""
    return any(found.level == "problem" for found in findings)


def report(findings: list[Finding]) -> str:
    """The findings as a table, the fixes below it."""
    lines = [plain_table(("check", "", "finding"), [(found.name, found.level, found.finding) for found in findings])]
    fixes = [f"{found.level}: {found.name}: {found.fix}" for found in findings if found.level != "ok"]
    return "\n".join([*lines, "", *(fixes or ["nothing to do"])])

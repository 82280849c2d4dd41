"""A decision in the forms that people and programs read: a table, tags and a file of the version, its description."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tinygptv.ground.file_names import GATE, GATE_TABLE
from tinygptv.ground.files import write_json, write_text
from tinygptv.ground.tables import plain_table
from tinygptv.promotion.decide import Check, Decision
from tinygptv.tracking import facts
from tinygptv.tracking.chain import Version
from tinygptv.tracking.client import Tracking
from tinygptv.tracking.description import fit
from tinygptv.tracking.lineage_view import gate, promotion
from tinygptv.tracking.registry import PASSED_TAG, REASONS_TAG, RESTORED_TAG, attach, find_version

HEADER = ("check", "value", "limit", "passed", "champion", "before stage 1", "what was seen")
"""Two numbers are for comparison: what the champion reached with the same questions, and what the model reached on its
held-out slice before it was trained."""
FOLDER = "gate"
TITLE, REST = "## Decision of the gate", "## The version"
LONGEST_TAG = 5000


def table(decision: Decision) -> str:
    """The decision for a terminal."""
    return plain_table(HEADER, (_cells(row) for row in decision.rows), right=(1, 2, 4, 5))


def markdown(decision: Decision) -> str:
    """The same table in Markdown."""
    rule = ("---", "---:", "---:", "---", "---:", "---:", "---")
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (HEADER, rule, *map(_cells, decision.rows)))


def store(tracking: Tracking, name: str, version: str, decision: Decision, about: Mapping[str, Any]) -> None:
    """Keep a decision with the version: tags, and the files ``gate/gate.json`` and ``gate/gate.md``.

    Args:
        tracking: the store.
        name: the registered model.
        version: the version that was judged.
        decision: what the gate said.
        about: what else belongs to it, such as the champion that it was compared with.
    """
    tags = {
        PASSED_TAG: str(decision.passed).lower(),
        REASONS_TAG: "; ".join(decision.reasons)[:LONGEST_TAG] or "none",
        "gate.champion": str(about.get("champion") or "none"),
    }
    with TemporaryDirectory(prefix="tinygptv-") as temporary:
        folder = Path(temporary) / FOLDER
        write_json(folder / GATE, {**about, **decision.as_json(), "at": facts.now(), "by": facts.user()})
        write_text(folder / GATE_TABLE, f"# {name} version {version}\n\n{markdown(decision)}\n")
        attach(tracking, name, version, folder)
    for key, value in tags.items():
        tracking.mlflow.set_model_version_tag(name, version, key, value)
    if RESTORED_TAG in find_version(tracking, name, version).tags:  # from now on this decision says what it is worth
        tracking.mlflow.delete_model_version_tag(name, version, RESTORED_TAG)


def describe(tracking: Tracking, name: str, version: str, decision: Decision, text: str | None = None) -> None:
    """Write the decision into the version's description, above what the version says about itself.

    Args:
        tracking: the store.
        name: the registered model.
        version: the version.
        decision: what the gate said about it.
        text: what the version says about itself; without it, the present text with its line about the gate renewed.
    """
    from tinygptv.tracking.chain import version_of

    found = find_version(tracking, name, version)
    if text is None:
        former = found.description or ""
        text = former.partition(REST)[2].strip() if former.startswith(TITLE) else former
        text = re.sub(r"^Gate: .*$", lambda _: line(version_of(found)), text, count=1, flags=re.MULTILINE)
    whole = f"{TITLE}\n\n{markdown(decision)}\n\n{REST}\n\n{text}"
    tracking.mlflow.update_model_version(name, version, fit(whole))


def line(version: Version) -> str:
    """The line about gate and promotion."""
    return f"Gate: {gate(version)}. Champion: {promotion(version)}."


def _cells(row: Check) -> tuple[str, ...]:
    seen = row.reason.removeprefix(f"{row.check}: ") if not row.ok else row.note
    passed, beside = "yes" if row.ok else "NO", (_number(row.champion), _number(row.start))
    return row.check, _number(row.value), _number(row.limit), passed, *beside, seen.replace("|", "/")


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"

"""The tags of a model's version: few, named for people; what only programs read is one JSON in the tag ``record``.

The gate and the lineage read it with the version in one call, so that it is there whenever the version is. A file would
take as long again, and need the store of files where the lineage needs MLflow's database alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tinygptv.ground.files import canonical
from tinygptv.ground.names import STEPS

RECORD = "record"
PACKAGE_STEP = "quantize"
"""The step that makes the registered package."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """Where a package comes from."""

    profile: str
    git_sha: str
    digests: Mapping[str, str]
    """Step → DVC digest of its output."""
    quantized: Mapping[str, Any]
    """``quantize.json``."""
    unquantized: Mapping[str, Any]
    """``evaluate.json``."""
    run_id: str
    """The MLflow run that registers; empty for none."""
    experiment: Mapping[str, str] = field(default_factory=dict)
    """Tags that name the experiment that made the package; empty for the pipeline itself."""


def tags_of(lineage: Lineage) -> dict[str, str]:
    """The tags that say where a version comes from and what it can do."""
    benchmarks = lineage.quantized.get("benchmarks") or {}
    numbers = {name: {"value": entry.get("value"), "n": entry.get("n")} for name, entry in benchmarks.items()}
    record = {
        "outputs": dict(lineage.digests),
        "report": {"benchmarks": numbers, "agreement": lineage.quantized.get("agreement")},
        "start": start_of(lineage.unquantized),
    }
    tags = {"profile": lineage.profile, "git.sha": lineage.git_sha, RECORD: canonical(record)}
    known = {name: entry["value"] for name, entry in numbers.items() if entry["value"] is not None}
    tags |= {f"metric.{name}": str(value) for name, value in known.items()}
    return tags | ({"dvc.md5": lineage.digests[PACKAGE_STEP]} if PACKAGE_STEP in lineage.digests else {})


def start_of(evaluated: Mapping[str, Any]) -> dict[str, Any]:
    """Benchmark → what the model reached on the held-out slice before its first stage, by ``evaluate.json``."""
    asked = (evaluated.get("held_out") or {}).get("start") or {}
    return {name: entry.get("value") for name, entry in asked.items()}


def recorded_start(tags: Mapping[str, str]) -> dict[str, Any]:
    """The same as a version carries it; empty where it is missing, as of versions of earlier releases."""
    found = _json(tags.get(RECORD, "{}")).get("start")
    return found if isinstance(found, dict) else {}


def report_of(tags: Mapping[str, str]) -> dict[str, Any]:
    """The numbers that a version carries; empty where they are missing, or no longer a report.

    Versions of the first release have them in a tag of their own.
    """
    found = _json(tags["report"]) if "report" in tags else _json(tags.get(RECORD, "{}")).get("report")
    return found if isinstance(found, dict) else {}


def outputs_of(tags: Mapping[str, str]) -> dict[str, str]:
    """Step → DVC digest of the output that a version names; versions of the first release have a tag for each."""
    found = _json(tags.get(RECORD, "{}")).get("outputs")
    recorded = {str(step): str(md5) for step, md5 in found.items()} if isinstance(found, dict) else {}
    return recorded | {step: tags[f"dvc.{step}"] for step in STEPS if f"dvc.{step}" in tags}


def _json(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except json.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}

"""What Prefect's page shows of a run: a name that says what it does, and choices in its form instead of free text."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

from prefect.runtime import deployment, flow_run
from pydantic import WithJsonSchema

from tinygptv.ground.crew import RUNNERS
from tinygptv.ground.file_names import PARAMS
from tinygptv.ground.folders import find_root
from tinygptv.ground.graph import entries_of
from tinygptv.ground.yaml_files import profile_names, read_yaml

ROOT = find_root(Path.cwd())
STEP_NAMES = list(entries_of(ROOT))


def _choice(names: Iterable[str]) -> dict[str, Any]:
    """The schema of a drop-down. As a type of its own, beside text, nothing would be a choice between types first."""
    return {"enum": [None, *names]}


ProfileChoice = Annotated[str | None, WithJsonSchema(_choice(profile_names(ROOT / "configs")))]
"""One of the profiles; one made later is there when `tinygptv up` has applied it."""
StepChoice = Annotated[str | None, WithJsonSchema(_choice(STEP_NAMES))]
RunnerChoice = Annotated[str | None, WithJsonSchema(_choice(RUNNERS))]
ProcessCount = Annotated[int | None, WithJsonSchema({"type": "integer", "minimum": 1})]
StepsChoice = Annotated[
    list[str] | None, WithJsonSchema({"type": "array", "items": {"type": "string", "enum": STEP_NAMES}})
]


def run_name() -> str:
    """Profile, commit and the name of a deployment or experiment: ``tiny d282a67 nightly``."""
    given = flow_run.parameters
    profile = given["plan"].profile if "plan" in given else given.get("profile")
    profile = profile or read_yaml(ROOT / PARAMS).get("profile")
    command = ["git", "rev-parse", "--short=7", "HEAD"]
    commit = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
    experiment = given["plan"].experiment if "plan" in given else ""
    return " ".join(part for part in (profile, commit, deployment.name, experiment) if part)

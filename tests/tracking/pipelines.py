"""A whole pipeline on record in a store, as the steps, the flow and the registry leave it."""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tinygptv.ground.files import canonical
from tinygptv.ground.graph import graph_of
from tinygptv.ground.names import STEPS
from tinygptv.tracking import facts, saved
from tinygptv.tracking.client import Tracking

ROOT = Path(__file__).resolve().parents[2]
GRAPH = graph_of(ROOT)
ENVIRONMENT = {"python": "3.11.7", "torch": "2.13.0+cpu", "processor": "AMD EPYC", "cpu_capability": "AVX512"}
COMMIT = "c" * 40
NEW_TAGS = (facts.CONFIG_TAG, facts.INPUTS_TAG, facts.ENVIRONMENT_TAG, facts.ENVIRONMENT_DIGEST_TAG, facts.USER_TAG)
"""What runs of older code do not have."""


def some_md5() -> str:
    return f"{uuid.uuid4().hex}.dir"


@dataclass
class Recorded:
    """The runs of a pipeline and the version that came of it."""

    tracking: Tracking
    md5: dict[str, str] = field(default_factory=lambda: {step: some_md5() for step in STEPS[:-1]})
    name: str = field(default_factory=lambda: f"tinygptv-{uuid.uuid4().hex[:8]}")
    flow: str = field(default_factory=lambda: str(uuid.uuid4()))
    runs: dict[str, str] = field(default_factory=dict)
    start: int = field(default_factory=lambda: int(time.time()) * 1000 - 3_600_000)

    def run(self, step: str, *, seconds: int, status: str = "FINISHED", inputs: Mapping[str, str] | None = None) -> str:
        """Add a run of a step that began so many seconds after the pipeline, and took five."""
        client, begun = self.tracking.mlflow, self.start + seconds * 1000
        read = inputs if inputs is not None else {name: self.md5[name] for name in GRAPH[step]}
        tags = {
            "step": step,
            "profile": "tiny",
            "git.sha": COMMIT,
            "git.dirty": "false",
            "prefect.flow_run_id": self.flow,
            **{f"dvc.input.{name}": md5 for name, md5 in read.items()},
            facts.CONFIG_TAG: facts.digest({"step": step}),
            facts.INPUTS_TAG: ",".join(GRAPH[step]),
            facts.ENVIRONMENT_TAG: canonical(ENVIRONMENT),
            facts.ENVIRONMENT_DIGEST_TAG: facts.digest(ENVIRONMENT),
            facts.USER_TAG: "someone",
        }
        if step in self.md5:
            tags["dvc.md5"] = self.md5[step]
        created = client.create_run(self.tracking.experiment("tiny"), begun, tags, run_name=step)
        if status != "RUNNING":
            client.set_terminated(created.info.run_id, status, begun + 5000)
        return str(created.info.run_id)

    def version(self, run_id: str | None, **tags: str | None) -> str:
        """Add a version; a tag of None is left out."""
        client = self.tracking.mlflow
        if not client.search_registered_models(f"name = '{self.name}'"):
            client.create_registered_model(self.name)
        all_tags = {
            "profile": "tiny",
            "git.sha": COMMIT,
            "package.sha256": uuid.uuid4().hex * 2,
            "dvc.md5": self.md5["quantize"],
            **{f"dvc.{step}": md5 for step, md5 in self.md5.items()},
            "metric.easy_vqa": "0.99",
            "gate.passed": "true",
            "gate.reasons": "none",
            "promoted.by": "someone",
            "promoted.at": "2026-11-21T16:25:34+00:00",
            **tags,
        }
        kept = {key: value for key, value in all_tags.items() if value is not None}
        added = client.create_model_version(self.name, "file:///nowhere", run_id=run_id, tags=kept)
        client.set_registered_model_alias(self.name, "champion", added.version)
        return str(added.version)

    def made_again(self, step: str, md5: str) -> None:
        """Let the step have made something else, wherever its digest is on record."""
        client = self.tracking.mlflow
        self.md5[step] = md5
        client.set_tag(self.runs[step], "dvc.md5", md5)
        client.set_model_version_tag(self.name, "1", f"dvc.{step}", md5)
        if step == "quantize":
            client.set_model_version_tag(self.name, "1", "dvc.md5", md5)
        for later in (name for name in STEPS if step in GRAPH[name]):
            client.set_tag(self.runs[later], f"dvc.input.{step}", md5)

    def forget(self, step: str, tag: str) -> None:
        """Remove a tag of a step's run, as if it had never been written."""
        self.tracking.mlflow.delete_tag(self.runs[step], tag)


def record(tracking: Tracking) -> Recorded:
    """A pipeline that ran through, one step after the other."""
    made = Recorded(tracking)
    for number, step in enumerate(STEPS):
        made.runs[step] = made.run(step, seconds=10 * number)
    made.version(made.runs["register"])
    return made


def with_little_code(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let versions hold no more of this project's code than what answers; MLflow copies its 450 files one by one."""
    code = folder / "code" / "tinygptv" / "tracking"
    code.mkdir(parents=True)
    shutil.copy(Path(saved.__file__).with_name("pyfunc.py"), code)
    patch.setattr(saved, "__file__", str(code / "saved.py"))

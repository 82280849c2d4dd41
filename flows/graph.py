"""The graph, read from DVC: ``dvc dag`` knows the edges, ``dvc.yaml`` the order and each step's ``meta``."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from tinygptv.ground.errors import UserError, meant
from tinygptv.ground.file_names import DVC_YAML
from tinygptv.ground.folders import state_folder
from tinygptv.ground.yaml_files import read_yaml


class Step(BaseModel):
    """One step of ``dvc.yaml`` with what it waits for and what its ``meta`` asks of the flow."""

    model_config = ConfigDict(frozen=True)

    name: str
    upstream: tuple[str, ...]
    retries: int
    retry_delay: float
    outputs: bool
    """Whether DVC can see from the step's files that it is done."""


class RunPlan(BaseModel):
    """What one call of the flow does: written by the launcher, carried out by the Prefect flow."""

    model_config = ConfigDict(frozen=True)

    root: Path
    """The checkout, or worktree, in which DVC works."""
    profile: str
    pipeline: str
    """The id by which all steps of this call find their parent run."""
    steps: tuple[Step, ...]
    force: tuple[str, ...]
    tracked: bool
    """Whether the pipeline has an MLflow run of its own."""
    experiment: str = ""
    """The name under which DVC will know it; empty for the pipeline as it is."""

    @property
    def state_folder(self) -> Path:
        """Where the steps leave what differs from run to run."""
        return state_folder(self.root, self.profile)

    @property
    def results_file(self) -> Path:
        """Where the flow writes how each step ended."""
        return self.state_folder / "pipeline.json"

    @property
    def flow_mark(self) -> Path:
        """The file whose lock the flow holds while it lives."""
        return self.state_folder / "flows" / self.pipeline

    def tracking_command(self, command: str, *options: str) -> list[str]:
        """The command line that opens or closes the pipeline's MLflow run."""
        identity = ["--id", self.pipeline, "--profile", self.profile]
        return [sys.executable, "-m", "tinygptv.tracking", command, *identity, *options]

    def tracking_environment(self, env: Mapping[str, str]) -> dict[str, str]:
        """The environment of these commands: the code of the checkout that they work for."""
        return {**env, "PYTHONPATH": str(self.root / "src"), "DVC_ROOT": str(self.root)}


def read_graph(root: Path) -> list[Step]:
    """All steps, each after those it depends on, otherwise in the order of ``dvc.yaml``.

    Raises:
        UserError: DVC cannot read the graph; the message is DVC's own.
    """
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "dag", "--dot"], cwd=root, capture_output=True, text=True, check=False
    )
    if done.returncode:
        reason = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise UserError(f"{root / DVC_YAML}: {reason[0] if reason else 'dvc dag failed'}")
    entries = read_yaml(root / DVC_YAML)["stages"]
    upstream: dict[str, set[str]] = {name: set() for name in entries}
    for source, target in re.findall(r'^"([^"]+)" -> "([^"]+)";$', done.stdout, re.MULTILINE):
        if source in upstream and target in upstream:
            upstream[target].add(source)
    metas = {name: (spec.get("meta") or {}) for name, spec in entries.items()}
    return [
        Step(
            name=name,
            upstream=tuple(other for other in entries if other in upstream[name]),
            retries=int(metas[name].get("retries", 0)),
            retry_delay=float(metas[name].get("retry_delay", 0)),
            outputs=bool(entries[name].get("outs")),
        )
        for name in _in_order(upstream)
    ]


def select(steps: list[Step], first: str | None, last: str | None, force: list[str]) -> list[Step]:
    """The steps from ``first`` on (with all that depends on it) up to ``last`` (with all it depends on).

    Raises:
        UserError: an unknown step, or nothing left to run.
    """
    names = [step.name for step in steps]
    for option, value in (("--from", first), ("--to", last), *(("--force", name) for name in force)):
        if value is not None and value not in names:
            raise UserError(f"{option} {value}: no such step; the steps are {', '.join(names)}{meant(value, names)}")
    upstream = {step.name: step.upstream for step in steps}
    chosen = set(names)
    if first is not None:
        after = {first}
        for name in names:
            if after.intersection(upstream[name]):
                after.add(name)
        chosen &= after
    if last is not None:
        before = {last}
        for name in reversed(names):
            if name in before:
                before.update(upstream[name])
        chosen &= before
    if not chosen:
        raise UserError(f"--from {first} --to {last}: {last} does not depend on {first}; nothing to run")
    if outside := [name for name in force if name not in chosen]:
        raise UserError(f"--force {outside[0]}: the step lies outside --from/--to; leave one of the options out")
    return [step for step in steps if step.name in chosen]


def _in_order(upstream: dict[str, set[str]]) -> list[str]:
    """Topological order; of the steps that are ready, always the first of ``dvc.yaml``."""
    waiting, order = list(upstream), []
    while waiting:
        ready = next(name for name in waiting if upstream[name].isdisjoint(waiting))  # DVC refuses cycles
        waiting.remove(ready)
        order.append(ready)
    return order

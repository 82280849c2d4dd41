"""One step again, in a scratch worktree: its inputs as the lock has them, DVC's own way to run it, what came out."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from tinygptv.ground.differences import differing_keys
from tinygptv.ground.errors import UserError
from tinygptv.ground.file_names import ENVIRONMENT, MANIFEST
from tinygptv.ground.files import read_json
from tinygptv.ground.folders import STATE
from tinygptv.ground.processes import GRACE_SECONDS, guarded
from tinygptv.ground.yaml_files import read_yaml
from tinygptv.provenance.compare import Difference, differences
from tinygptv.provenance.recorded import Copies, LockedStep, NoCopyError, Recorded, digest, remove
from tinygptv.provenance.sample import WeeklyDraw
from tinygptv.provenance.values import side, value_difference
from tinygptv.provenance.words import Names, pair

State = Literal["equal", "differs", "failed"]
LOCK_NOW: Names = ("lock", "now")
OWN = ("DVC_ROOT", "DVC_STAGE", "TINYGPTV_PIPELINE_ID", "PREFECT_FLOW_RUN_ID", "MLFLOW_RUN_ID", "MLFLOW_TRACKING_URI")
"""Variables by which a rerun would be taken for a part of something else."""


@dataclass(slots=True, kw_only=True)
class StepResult:
    """How a step's rerun ended."""

    step: str
    state: State = "equal"
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)
    """Known before: other code, configuration or environment than the recorded result was made with."""
    inputs: list[Difference] = field(default_factory=list)
    """Copies of inputs that are not what the lock records."""
    outputs: list[Difference] = field(default_factory=list)
    """Files that came out otherwise."""
    reason: str = ""
    """Why it failed."""
    parts: dict[str, int] | None = None
    """Where only parts of it were made again: how many, of how many."""

    def as_json(self) -> dict[str, Any]:
        """Everything, for a machine."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Scratch:
    """A worktree of the last commit in which steps are run again."""

    folder: Path
    checkout: Path
    """Where the lock's own outputs lie: the user's copies, compared and never written."""
    steps: Mapping[str, LockedStep]
    copies: Copies

    @property
    def state(self) -> Path:
        """What is kept beside the steps' own files."""
        return self.folder / STATE

    def keep_committed(self) -> None:
        """Keep outputs that lie in git (reports), before a rerun replaces them; they are looked for like the rest."""
        for item in (item for step in self.steps.values() for item in step.outputs):
            committed, kept = self.folder / item.path, committed_folder(self.folder) / item.path
            if committed.is_dir():
                shutil.copytree(committed, kept)
            elif committed.is_file():
                kept.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(committed, kept)

    def changed_code(self, names: list[str]) -> dict[str, list[str]]:
        """Step → what DVC finds changed since the lock, but for its inputs: code, configuration, command.

        Raises:
            UserError: DVC refuses.
        """
        done = self._dvc("status", "--json", *names, capture=True)
        if done.returncode:
            raise UserError(f"dvc status: {reason_of('', done.stderr or done.stdout, done.returncode)}")
        status = json.loads(done.stdout)
        return {name: self._changes(self.steps[name], status.get(name, [])) for name in names}

    def _changes(self, step: LockedStep, entries: list[Any]) -> list[str]:
        inputs = tuple(f"{item.path}/" for item in step.inputs)
        found: list[str] = []
        for entry in entries:
            if not isinstance(entry, dict):
                found.append(f"the {str(entry).removeprefix('changed ')} in dvc.yaml is another than the lock's")
                continue
            for path, change in entry.get("changed deps", {}).items():
                if isinstance(change, dict):
                    found.append(f"{path}: {self._changed_values(step.params.get(path, {}), self.folder / path)}")
                elif not f"{path}/".startswith(inputs):
                    found.append(f"{path} is another version than the lock's ({change})")
        return found

    def _changed_values(self, recorded: Mapping[str, Any], path: Path) -> str:
        """The first differing key of a step's parameters; the lock has dotted keys, the file nested ones."""
        content = read_yaml(path)
        current: dict[str, Any] = {}
        for key in recorded:
            value = content
            for part in key.split("."):
                value = value.get(part) if isinstance(value, dict) else None
            current[key] = value
        return value_difference(dict(recorded), current, LOCK_NOW) or "other keys than the lock's"

    def recorded_environment(self, step: LockedStep) -> dict[str, Any] | None:
        """Where the recorded outputs were made: of a manifest, or an ``environment.json`` among or beside them."""
        for item in step.outputs:
            try:
                files = self.copies.files(item)
            except NoCopyError:
                continue  # told where the outputs are compared
            for file in files:
                name = file.path.removeprefix(f"{item.path}/")
                if name in (MANIFEST, ENVIRONMENT) and (path := self.copies.good(file)) is not None:
                    content = json.loads(path.read_bytes())
                    found = content.get("environment") if name == MANIFEST else content
                    if isinstance(found, dict):
                        return found
            beside = (self.folder / item.path).with_name(ENVIRONMENT)
            if files == [item] and beside.is_file():
                facts = read_json(beside)
                return {key: value for key, value in facts.items() if key != "threads"}  # that is a setting
        return None

    def run(self, step: LockedStep, result: StepResult) -> None:
        """Run a step again and say in ``result`` what came of it."""
        self._bring_inputs(step, result)
        if result.state == "failed":
            return
        for item in step.outputs:
            remove(self.folder / item.path)
        done = self._dvc("repro", "--force", "--single-item", "--no-run-cache", "--no-commit", step.name)
        if done.returncode:
            result.state, result.reason = "failed", reason_of(step.name, done.stdout, done.returncode)
            return
        for item in step.outputs:
            if digest(self.folder / item.path) != item.md5:
                result.outputs += self._what_differs(item)
        if result.inputs or result.outputs:
            result.state = "differs"

    def run_parts(self, step: LockedStep, result: StepResult, profile: str, sample: WeeklyDraw) -> None:
        """Make drawn parts of a step again and say in ``result`` what came of them."""
        self._bring_inputs(step, result)
        for item in step.outputs if result.state != "failed" else ():
            try:
                self.copies.restore(item, self.folder / item.path)
            except NoCopyError as error:
                result.state, result.reason = "failed", str(error)
        if result.state == "failed":
            return
        drawn = ["--profile", profile, "--day", sample.day.isoformat(), "--seed", str(sample.seed)]
        done = self._python("tinygptv.provenance.parts", step.name, *drawn, capture=True)
        if done.returncode:
            result.state, result.reason = "failed", reason_of(step.name, done.stderr, done.returncode)
            return
        found = json.loads(done.stdout.splitlines()[-1])
        result.parts = {"looked_at": len(found["looked_at"]), "total": found["total"]}
        result.outputs += [Difference(step.outputs[0].path, line) for line in found["differing"]]
        if result.inputs or result.outputs:
            result.state = "differs"

    def _bring_inputs(self, step: LockedStep, result: StepResult) -> None:
        """Inputs by the lock, and what is wrong with other copies of them."""
        for item in step.inputs:
            try:
                self.copies.restore(item, self.folder / item.path)
            except NoCopyError as error:
                result.state, result.reason = "failed", str(error)
            result.inputs += self.copies.damage_of(item)
            copy = self.checkout / item.path
            if result.state != "failed" and copy.exists() and digest(copy) != item.md5:
                result.inputs += _unlike(item, self.folder / item.path, copy, ("lock", "checkout"))

    def _what_differs(self, item: Recorded) -> list[Difference]:
        """File by file, against a good copy of what the lock records."""
        target = self.state / "recorded" / item.path
        try:
            self.copies.restore(item, target)
        except NoCopyError as error:
            found = digest(self.folder / item.path) or "missing"
            return [Difference(item.path, f"{pair((item.md5, found), LOCK_NOW)}; {error}")]
        return _unlike(item, target, self.folder / item.path, LOCK_NOW)

    def _dvc(self, *arguments: str, capture: bool = False) -> subprocess.CompletedProcess[str]:
        """Call DVC in the worktree."""
        return self._python("dvc", *arguments, capture=capture)

    def _python(self, module: str, *arguments: str, capture: bool) -> subprocess.CompletedProcess[str]:
        """Run a module in the worktree under a guard: whatever ends this process, nothing of it is left."""
        command = guarded([sys.executable, "-m", module, *arguments])
        errors = subprocess.PIPE if capture else subprocess.STDOUT
        process = subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.environment(os.environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            errors="replace",
        )
        try:
            output, complaint = process.communicate()
        finally:
            if process.poll() is None:  # stopped: the guard clears up below itself
                process.terminate()
                try:
                    process.wait(2 * GRACE_SECONDS + 5)
                except subprocess.TimeoutExpired:
                    process.kill()
        return subprocess.CompletedProcess(command, process.returncode, output, complaint)

    def environment(self, env: Mapping[str, str]) -> dict[str, str]:
        """The environment of a rerun: the worktree's own code, and records that go with the worktree."""
        kept = {name: value for name, value in env.items() if name not in OWN}
        return kept | {
            "PYTHONPATH": str(self.folder / "src"),
            "TINYGPTV_PYTHON": sys.executable,
            "MLFLOW_TRACKING_URI": f"sqlite:///{self.state / 'mlflow.db'}",
            "DVC_SITE_CACHE_DIR": str(self.state / "dvc"),
            "DVC_NO_ANALYTICS": "1",
            "PYTHONUNBUFFERED": "1",
        }


def _unlike(item: Recorded, good: Path, other: Path, names: Names) -> list[Difference]:
    """What differs in something whose digest is another than the recorded one: never nothing."""
    told = Difference(item.path, pair((item.md5, digest(other) or "missing"), names))
    return differences(good, other, names, item.path) or [told]


def committed_folder(folder: Path) -> Path:
    """Where a scratch worktree keeps outputs that lie in git."""
    return folder / STATE / "committed"


def environment_differences(recorded: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """Key by key, what a recorded environment has otherwise than this machine."""
    names = ("lock", "here")
    found = differing_keys(dict(recorded), dict(here))
    return [f"{key} {pair((side(left), side(right)), names)}" for key, left, right in found]


def reason_of(step: str, output: str, code: int) -> str:
    """The line of a step that says why it failed; DVC only adds that it did."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    said = [line for line in lines if not line.startswith(("ERROR: failed to reproduce", "Running stage", "> "))]
    own = [line for line in said if line.startswith(f"{step}: ")]
    return [f"it ended with exit code {code}", *said, *own][-1]

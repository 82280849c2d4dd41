"""SIGKILL at random instants of the whole smoke pipeline: ``dvc repro`` goes on, to the same digests, counted once.

Each trial is a clone of this checkout, with what is not committed yet. At a random instant either the whole group of
processes is killed, or DVC alone, or the step alone; then ``dvc repro`` is called again.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.drills.aftermath import LEFT_OVER
from tinygptv.ground.names import STEPS
from tinygptv.ground.yaml_files import read_yaml

ROOT = Path(__file__).resolve().parents[2]
VICTIMS = ("group", "dvc", "step")
AGAIN = 0.25
LONGEST_S = 1800.0
LONGEST_GOODBYE_S = 60.0
"""A step whose DVC was killed gets SIGTERM, saves and ends."""
OURS = ("DVC_ROOT", "MLFLOW_TRACKING_URI", "TINYGPTV_PIPELINE_ID", "PREFECT_FLOW_RUN_ID", "VIRTUAL_ENV", "PYTHONPATH")


@dataclass(slots=True)
class Clone:
    """A copy of this checkout whose profile is smoke."""

    root: Path
    env: dict[str, str] = field(init=False)

    @classmethod
    def make(cls, root: Path) -> Clone:
        """Clone the last commit and bring over what has changed since."""
        subprocess.run(["git", "clone", "-q", str(ROOT), str(root)], check=True)
        for name in _git_files("-m", "-o", "--exclude-standard"):
            source, target = ROOT / name, root / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.exists():
                shutil.copy(source, target)
            else:
                target.unlink(missing_ok=True)
        (root / "params.yaml").write_text("profile: smoke\nseed: 7\n")
        shutil.rmtree(root / "reports" / "smoke", ignore_errors=True)
        return cls(root)

    def __post_init__(self) -> None:
        env = {name: value for name, value in os.environ.items() if name not in OURS}
        env |= {"TINYGPTV_PYTHON": sys.executable, "DVC_NO_ANALYTICS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        self.env = env | {"DVC_SITE_CACHE_DIR": str(self.root.parent / f"{self.root.name}-site")}

    def begin(self) -> subprocess.Popen[bytes]:
        """Start ``dvc repro`` in a session of its own; what it says goes to ``<clone>.log``."""
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "dvc", "repro"]
            return subprocess.Popen(
                command, cwd=self.root, env=self.env, stdout=log, stderr=log, start_new_session=True
            )

    @property
    def log(self) -> Path:
        """What DVC and the steps have said."""
        return self.root.with_suffix(".log")

    def stages(self) -> dict[str, Any]:
        """What DVC has recorded of the smoke profile: commands, digests of dependencies and outputs."""
        recorded = read_yaml(self.root / "dvc.lock")["stages"]
        return {name: entry for name, entry in recorded.items() if "--profile smoke" in entry["cmd"]}

    def runs(self) -> list[tuple[str, str]]:
        """Step and status of each of MLflow's runs, once everything is shipped."""
        subprocess.run(
            [sys.executable, "-m", "tinygptv.tracking", "ship"],
            cwd=self.root,
            env=self.env | {"PYTHONPATH": str(self.root / "src")},
            check=True,
            capture_output=True,
        )
        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri=f"sqlite:///{self.root / 'mlflow.db'}")
        experiment = client.get_experiment_by_name("tinygptv/smoke")
        assert experiment is not None, "MLflow has no experiment"
        found = client.search_runs([experiment.experiment_id])
        return sorted((str(run.info.run_name), run.info.status) for run in found)

    def remove(self) -> None:
        """Remove it and what belongs to it."""
        for path in (self.root, self.root.parent / f"{self.root.name}-site"):
            shutil.rmtree(path, ignore_errors=True)


def _git_files(*options: str) -> list[str]:
    done = subprocess.run(["git", "ls-files", "-z", *options], cwd=ROOT, check=True, capture_output=True, text=True)
    return [name for name in done.stdout.split("\0") if name]


def members(session: int) -> list[psutil.Process]:
    """The living processes of a session."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue  # it has just ended
    return found


def strike(running: subprocess.Popen[bytes], victim: str) -> str:
    """Kill; where no step runs at this instant, the whole group stands for it.

    Returns:
        What was killed.
    """
    if victim == "dvc":
        os.kill(running.pid, signal.SIGKILL)
        return victim
    steps = [process for process in members(running.pid) if victim == "step" and _is_step(process)]
    for process in steps:
        process.kill()
    if steps:
        return victim
    os.killpg(running.pid, signal.SIGKILL)
    return "group"


def _is_step(process: psutil.Process) -> bool:
    try:
        return "tinygptv.steps" in process.cmdline()
    except psutil.NoSuchProcess:
        return False


@dataclass(slots=True)
class PipelineDrill:
    """The uninterrupted run, and the trials against it."""

    folder: Path
    expected: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    stops: Counter[str] = field(default_factory=Counter)

    def measure(self) -> None:
        """Run the pipeline without a kill.

        Raises:
            RuntimeError: it fails, or MLflow's account of it is not one finished run for each step.
        """
        Clone.make(self.folder / "template")
        clone = self.copy("uninterrupted")
        started = time.monotonic()
        if clone.begin().wait(LONGEST_S):
            raise RuntimeError(f"dvc repro fails without a kill; see {clone.log}")
        self.seconds = time.monotonic() - started
        self.expected = clone.stages()
        if clone.runs() != account():
            raise RuntimeError(f"MLflow has {clone.runs()} after an uninterrupted run")
        clone.remove()

    def copy(self, name: str) -> Clone:
        """A clone as it was when the drill began: nobody's edits come in between."""
        return Clone(shutil.copytree(self.folder / "template", self.folder / name, symlinks=True))

    def trial(self, number: int, source: random.Random) -> list[str]:
        """Kill a pipeline, once or more, and let it end.

        Returns:
            What was wrong, in words.
        """
        clone = self.copy(f"trial-{number}")
        wrong: list[str] = []
        stopped = 0
        while stopped == 0 or source.random() < AGAIN:
            running = clone.begin()
            try:
                running.wait(source.uniform(0.0, self.seconds))
                break  # it came to its end first
            except subprocess.TimeoutExpired:
                victim = strike(running, source.choice(VICTIMS))
            self.stops[victim] += 1
            stopped += 1
            running.wait(LONGEST_GOODBYE_S)
            wrong += self._silence(running, victim)
        if clone.begin().wait(LONGEST_S):
            wrong.append(f"dvc repro fails after a kill: {clone.log.read_text(errors='replace')[-2000:]}")
        wrong += self._compare(clone)
        if not wrong:
            clone.remove()
        return wrong

    def _silence(self, running: subprocess.Popen[bytes], victim: str) -> list[str]:
        """Wait until the last process has gone; what has not within a minute is reported and killed."""
        until = time.monotonic() + LONGEST_GOODBYE_S
        while alive := members(running.pid):
            if time.monotonic() > until:
                os.killpg(running.pid, signal.SIGKILL)
                return [f"after {victim} was killed, these live on: {[process.cmdline() for process in alive]}"]
            time.sleep(0.05)
        return []

    def _compare(self, clone: Clone) -> list[str]:
        wrong = []
        found = clone.stages()
        differing = [step for step in STEPS if found.get(step) != self.expected.get(step)]
        if differing:
            wrong.append(f"dvc.lock differs from the uninterrupted run's: {', '.join(differing)}")
        if clone.runs() != account():
            wrong.append(f"MLflow has {Counter(clone.runs())}, not one finished run for each step")
        left = [path for name in ("data", "reports", ".state") for path in (clone.root / name).rglob("*")]
        wrong += [f"left over: {path}" for path in left if LEFT_OVER.search(path.name)]
        return wrong


def account() -> list[tuple[str, str]]:
    """What MLflow must have: every step once."""
    return sorted((step, "FINISHED") for step in STEPS)


def kill_pipeline(trials: int, seed: int, folder: Path, *, keep_going: bool) -> int:
    """The drill on the whole pipeline.

    Returns:
        The command's exit code.
    """
    from tests.drills.kill import summary

    drill = PipelineDrill(folder)
    drill.measure()
    print(f"pipeline: {drill.seconds:.0f} s", flush=True)
    failed = made = 0
    for trial in range(trials):
        made += 1
        wrong = drill.trial(trial, random.Random(f"{seed}/{trial}"))
        for line in wrong:
            print(f"trial {trial}: {line}", flush=True)
        failed += bool(wrong)
        if failed and not keep_going:
            break
    print(summary(drill.stops, 0, made, failed))
    return 1 if failed else 0

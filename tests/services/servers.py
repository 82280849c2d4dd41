"""A small DVC project with the real servers beside it, and Prefect's API as a test asks it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2 as httpx
import psutil

from tests.drills.prefect_server import free_port
from tests.drills.projects import ROOT, git
from tests.services.clones import logs_of, run_module
from tinygptv.ground import servers as settings
from tinygptv.ground.servers import ServerSettings
from tinygptv.services import processes

LOCKED_SECONDS = 30.0
STAGES = ("first", "second", "third")
STEP = """\
#!/bin/sh
set -e
echo began >> "$TEST_MARKS/began-$1"
echo "$1 at work"
while [ -f "$TEST_MARKS/wait-$1" ]; do sleep 0.1; done
mkdir -p "data/$2/$1" ".state/$2"
echo "$1" > "data/$2/$1/result"
printf '{"pipeline": "%s", "run_id": "run-%s", "url": "http://mlflow/%s"}' "$TINYGPTV_PIPELINE_ID" "$1" "$1" \\
  > ".state/$2/$1.json"
echo ended >> "$TEST_MARKS/ended-$1"
"""
DVC_YAML = """\
stages:
  first: {cmd: "./step.sh first ${profile}", outs: ["data/${profile}/first"]}
  second: {cmd: "./step.sh second ${profile}", deps: ["data/${profile}/first"], outs: ["data/${profile}/second"]}
  third: {cmd: "./step.sh third ${profile}", deps: ["data/${profile}/second"], outs: ["data/${profile}/third"]}
"""
EVERY_MINUTE = """
  - name: every-minute
    entrypoint: flows/scheduled.py:nightly
    work_pool: {name: local}
    concurrency_limit: {limit: 1, collision_strategy: CANCEL_NEW}
    schedules: [{slug: tick, cron: "* * * * *", timezone: UTC, active: false}]
"""


def make_project(folder: Path) -> Path:
    """Three shell stages that leave marks, this checkout's flows and schedules, one commit."""
    root = folder / "project"
    (root / "configs").mkdir(parents=True)
    (root / "configs" / "tiny.yaml").write_text("size: 1\n")
    (root / "params.yaml").write_text("profile: tiny\nseed: 7\n")
    (root / "dvc.yaml").write_text(DVC_YAML)
    (root / "step.sh").write_text(STEP)
    (root / "step.sh").chmod(0o755)
    (root / ".gitignore").write_text("/data/\n/.state/\n/.prefect/\n/mlflow.db*\n/mlartifacts/\n__pycache__/\n")
    (root / "prefect.yaml").write_text((ROOT / "prefect.yaml").read_text() + EVERY_MINUTE)
    shutil.copytree(ROOT / "flows", root / "flows", ignore=shutil.ignore_patterns("__pycache__"))
    git(root, "init", "-q", "-b", "main")
    environment = {**os.environ, "DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(folder / "site")}
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q"], cwd=root, check=True, env=environment)
    git(root, "add", "-A")
    git(root, "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-q", "-m", "start")
    return root


class PatientTransport(httpx.HTTPTransport):
    """Asks again where Prefect answers 503 because SQLite is locked at the moment, as Prefect's own client does."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        deadline = time.monotonic() + LOCKED_SECONDS
        while True:
            response = super().handle_request(request)
            if response.status_code != httpx.codes.SERVICE_UNAVAILABLE or time.monotonic() > deadline:
                return response
            response.close()
            time.sleep(0.5)


@dataclass(frozen=True)
class Servers:
    """``tinygptv up`` in a project of its own."""

    root: Path
    marks: Path
    env: dict[str, str]

    @classmethod
    def prepare(cls, folder: Path) -> Servers:
        """Everything but the start; ports are free ones."""
        marks = folder / "marks"
        marks.mkdir()
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "PREFECT_"))}
        own = {
            "TEST_MARKS": str(marks),
            settings.MLFLOW_VARIABLE: str(free_port()),
            settings.PREFECT_VARIABLE: str(free_port()),
            "DVC_SITE_CACHE_DIR": str(folder / "site"),
            "DVC_GLOBAL_CONFIG_DIR": str(folder / "global"),
        }
        for name in ("DVC_ROOT", "DVC_STAGE", "TINYGPTV_PIPELINE_ID", "PYTHONPATH"):
            kept.pop(name, None)
        return cls(make_project(folder), marks, kept | own)

    def call(self, command: str, code: int = 0) -> str:
        """``tinygptv COMMAND`` in the project; returns all that it says."""
        return run_module(self.root, self.env, ("tinygptv.cli", command), code, 400)

    def logs(self) -> str:
        """The end of each log, for a failure."""
        return logs_of(self.root)

    @property
    def settings(self) -> ServerSettings:
        found = settings.read(self.root)
        assert found is not None
        return found

    @property
    def user(self) -> tuple[str, str]:
        """Name and password of MLflow."""
        user, _, password = self.settings.mlflow_auth.partition(":")
        return user, password

    @property
    def prefect(self) -> httpx.Client:
        """Prefect's API with the password."""
        user, _, password = self.settings.auth.partition(":")
        transport = PatientTransport()
        return httpx.Client(base_url=self.settings.prefect_api, auth=(user, password), timeout=30, transport=transport)

    def ask(self, path: str, content: Any = None) -> Any:
        """POST to Prefect's API; the JSON that comes back."""
        with self.prefect as client:
            answer = client.post(path, json=content if content is not None else {})
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def get(self, path: str) -> Any:
        """GET from Prefect's API."""
        with self.prefect as client:
            answer = client.get(path)
        answer.raise_for_status()
        return answer.json()

    def deployment(self, name: str) -> Any:
        """A deployment by its name."""
        (found,) = self.ask("/deployments/filter", {"deployments": {"name": {"any_": [name]}}})
        return found

    def run(self, name: str, **parameters: Any) -> str:
        """A manual run; its id."""
        identity = self.deployment(name)["id"]
        body = {"parameters": parameters, "state": {"type": "SCHEDULED"}}
        return str(self.ask(f"/deployments/{identity}/create_flow_run", body)["id"])

    def state(self, run: str) -> tuple[str, str]:
        """Type and message of a run's state."""
        state = self.get(f"/flow_runs/{run}")["state"]
        return state["type"], state["message"] or ""

    def wait_state(self, run: str, wanted: str, seconds: float) -> float:
        """Wait for a state; the seconds that it took."""
        started = time.monotonic()
        until(lambda: self.state(run)[0] == wanted, seconds, lambda: f"{self.state(run)}{self.logs()}")
        return time.monotonic() - started

    def wait_begun(self, run: str, stage: str, count: int, seconds: float = 90) -> None:
        """Wait until a stage has begun so many times."""
        until(
            lambda: self.count("began", stage) >= count,
            seconds,
            lambda: f"{stage} did not begin: {self.state(run)}{self.logs()}",
        )

    def count(self, word: str, stage: str) -> int:
        """How often a stage began, or ended."""
        path = self.marks / f"{word}-{stage}"
        return len(path.read_text().splitlines()) if path.exists() else 0

    def hold(self, stage: str) -> Path:
        """Let a stage wait until the file is gone."""
        path = self.marks / f"wait-{stage}"
        path.touch()
        return path

    def below(self, service: str) -> list[psutil.Process]:
        """All processes of a service."""
        return processes.marked(f"{self.settings.mark}/{service}")

    def at_work(self) -> list[psutil.Process]:
        """What runs for a flow: all below the worker but the worker itself."""
        known = processes.known(settings.folder_of(self.root) / "worker.json")
        return [process for process in self.below("worker") if known is None or process.pid != known.pid]


def until(condition: Callable[[], bool], seconds: float, what: Callable[[], str]) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.2)

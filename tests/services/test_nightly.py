"""A clone left to its schedule: a tick of the clock runs the smoke profile from nothing to a champion."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx2 as httpx
import pytest

from tests.drills.prefect_server import free_port
from tests.services.clones import MODEL, Clone, smoke_clone
from tests.services.servers import Servers, until
from tinygptv.ground.names import STEPS
from tinygptv.tracking import pages

pytestmark = pytest.mark.services
EVERY_MINUTE = {"active": True, "schedule": {"cron": "* * * * *", "timezone": "UTC"}}
RUN_SECONDS = 900.0


@dataclass(frozen=True)
class Night:
    """The clone after its first scheduled run."""

    clone: Clone
    servers: Servers
    run: dict[str, Any]

    def artifacts(self, run: str) -> dict[str, dict[str, Any]]:
        """What a run shows under Artifacts, by key."""
        found = self.servers.ask("/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run]}}})
        return {artifact["key"]: artifact for artifact in found}

    def mlflow(self, path: str, **params: str) -> dict[str, Any]:
        """MLflow's API, as its pages ask it."""
        url = f"{self.servers.settings.mlflow}/api/2.0/mlflow/{path}"
        answer = httpx.get(url, params=params, auth=self.servers.user, timeout=30)
        answer.raise_for_status()
        return dict(answer.json())

    def by_hand(self, deployment: str, state: str, **parameters: Any) -> str:
        """Start a deployment as its button does and wait; the message of its last state."""
        run = self.servers.run(deployment, **parameters)
        self.servers.wait_state(run, state, 300)
        return self.servers.state(run)[1]


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Night]:
    """Everything up from nothing, the schedule of ``nightly`` set to every minute until its first run is there."""
    folder = tmp_path_factory.mktemp("nightly")
    clone = smoke_clone(folder, {name: free_port() for name in ("MLFLOW", "PREFECT")})
    servers = Servers(clone.root, folder, dict(clone.env))
    try:
        clone.call("tinygptv.cli", "up")
        deployment = servers.deployment("nightly")
        (schedule,) = deployment["schedules"]
        path = f"/deployments/{deployment['id']}/schedules/{schedule['id']}"
        begun = {
            "deployments": {"id": {"any_": [deployment["id"]]}},
            "flow_runs": {"state": {"type": {"any_": ["RUNNING", "COMPLETED", "FAILED", "CRASHED"]}}},
        }
        with servers.prefect as client:
            client.patch(path, json=EVERY_MINUTE).raise_for_status()
            until(lambda: bool(servers.ask("/flow_runs/filter", begun)), 180, servers.logs)
            client.patch(path, json={"active": False}).raise_for_status()
        (run, *_) = servers.ask("/flow_runs/filter", begun)
        servers.wait_state(run["id"], "COMPLETED", RUN_SECONDS)
        yield Night(clone, servers, servers.get(f"/flow_runs/{run['id']}"))
    finally:
        clone.call("tinygptv.cli", "down")


def test_every_step_is_a_task_with_its_log(night):
    assert night.run["auto_scheduled"]
    tasks = night.servers.ask("/task_runs/filter", {"flow_runs": {"id": {"any_": [night.run["id"]]}}})
    assert {task["name"]: task["state"]["name"] for task in tasks} == dict.fromkeys(STEPS, "Completed")
    (stage4,) = [task["id"] for task in tasks if task["name"] == "stage4"]
    logs = night.servers.ask("/logs/filter", {"logs": {"task_run_id": {"any_": [stage4]}}})
    assert any("loss" in log["message"] for log in logs), logs


def test_results_loss_and_links_are_under_its_artifacts(night):
    shown = night.artifacts(night.run["id"])
    assert set(shown) == {"steps", "results", "loss", "mlflow-run", "model-version"}
    assert "easy_vqa" in shown["results"]["data"]
    assert httpx.get(shown["loss"]["data"], timeout=30).status_code == 401
    picture = httpx.get(shown["loss"]["data"], auth=night.servers.user, timeout=30)
    assert (picture.status_code, picture.headers["content-type"]) == (200, "image/png")
    page = shown["mlflow-run"]["data"].partition("](")[2].partition(")")[0]
    run_id = urlsplit(urlsplit(page).fragment).path.rpartition("/")[2]
    run = night.mlflow("runs/get", run_id=run_id)["run"]
    assert page == pages.of_run(night.servers.settings.mlflow, run["info"]["experiment_id"], run_id)
    assert re.fullmatch("pipeline [0-9a-f]{7} smoke", run["info"]["run_name"])
    assert run["info"]["status"] == "FINISHED"
    assert night.run["name"].startswith("smoke ") and night.run["name"].endswith(" nightly")
    assert f"({pages.of_version(night.servers.settings.mlflow, MODEL, '1')})" in shown["model-version"]["data"]
    champion = night.mlflow("registered-models/alias", name=MODEL, alias="champion")["model_version"]
    assert champion["version"] == "1"


def test_the_files_of_the_person_are_untouched(night):
    root = night.clone.root
    assert not (root / "data" / "smoke").exists()
    assert (root / ".state" / "worktrees" / "nightly-smoke" / "data" / "smoke" / "quantize" / "model").is_dir()
    changed = subprocess.run(["git", "status", "--porcelain"], cwd=root, capture_output=True, text=True, check=True)
    assert changed.stdout == ""


def test_the_lineage_of_what_it_made_is_complete(night):
    assert "complete" in night.clone.call("tinygptv.cli", "lineage", f"models:/{MODEL}@champion")


def test_the_champion_is_measured_anew(night):
    assert night.by_hand("evaluate-champion", "COMPLETED").startswith(f"{MODEL} version 1 reaches every limit")


def test_promoting_the_champion_changes_nothing(night):
    assert night.by_hand("promote", "COMPLETED") == f"{MODEL} version 1 is the champion already"


def test_what_it_made_is_made_again_while_a_person_is_at_work(night):
    params = night.clone.root / "params.yaml"
    before = params.read_text()
    params.write_text(before.replace("seed: 7", "seed: 8"))
    said = night.by_hand("verify", "COMPLETED", steps=["shards", "stage2", "quantize"])
    assert said.startswith("3 of 3 steps equal; http")
    params.write_text(before)


def test_the_next_night_finds_everything_up_to_date(night):
    run = night.servers.run("nightly")
    night.servers.wait_state(run, "COMPLETED", 300)
    tasks = night.servers.ask("/task_runs/filter", {"flow_runs": {"id": {"any_": [run]}}})
    assert {task["name"]: task["state"]["name"] for task in tasks} == dict.fromkeys(STEPS, "UpToDate")

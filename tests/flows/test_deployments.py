"""``prefect.yaml`` and what flows show, without a server."""

from __future__ import annotations

import ast

import pytest

from flows.artifacts import artifact_url
from tests.flows.conftest import ROOT
from tinygptv.profiles import read_yaml
from tinygptv.services.stack import POOL

DEPLOYMENTS = {entry["name"]: entry for entry in read_yaml(ROOT / "prefect.yaml")["deployments"]}


def test_the_deployments_are_these():
    assert set(DEPLOYMENTS) == {"nightly", "verify", "evaluate-champion", "promote"}
    assert DEPLOYMENTS["nightly"]["schedules"][0]["cron"] == "0 3 * * *"
    assert DEPLOYMENTS["promote"]["schedules"] == []
    assert "pull" not in read_yaml(ROOT / "prefect.yaml")


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_a_deployment_runs_alone_and_its_flow_exists(name):
    entry = DEPLOYMENTS[name]
    assert entry["work_pool"] == {"name": POOL}
    assert entry["concurrency_limit"] == {"limit": 1, "collision_strategy": "CANCEL_NEW"}
    file, _, function = entry["entrypoint"].partition(":")
    defined = {node.name for node in ast.parse((ROOT / file).read_text()).body if isinstance(node, ast.FunctionDef)}
    assert function in defined
    slugs = [schedule["slug"] for schedule in entry["schedules"]]  # by them a person's change is found again
    assert len(set(slugs)) == len(slugs)


def test_the_address_of_a_picture():
    page = "http://127.0.0.1:5000/#/experiments/1/runs/abc"
    assert artifact_url(page, "abc", "loss.png") == "http://127.0.0.1:5000/get-artifact?path=loss.png&run_uuid=abc"
    assert artifact_url(page, "abc", "a&b=../c").endswith("?path=a%26b%3D..%2Fc&run_uuid=abc")

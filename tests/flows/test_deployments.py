"""``prefect.yaml`` and what flows show, without a server."""

from __future__ import annotations

import ast
import subprocess
from types import SimpleNamespace

import pytest
from prefect.utilities.callables import parameter_schema

from flows import naming
from flows.artifacts import artifact_url, headline
from flows.promote import evaluate_champion, promote
from flows.scheduled import nightly
from flows.verification import verify
from tests.flows.conftest import ROOT
from tinygptv.ground.yaml_files import read_yaml
from tinygptv.services.stack import POOL
from tinygptv.tracking import pages

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
    page = pages.of_run("http://127.0.0.1:5000", "1", "abc")
    assert artifact_url(page, "abc", "loss.png") == "http://127.0.0.1:5000/get-artifact?path=loss.png&run_uuid=abc"
    assert artifact_url(page, "abc", "a&b=../c").endswith("?path=a%26b%3D..%2Fc&run_uuid=abc")


PROFILES = [None, "eval-mini", "paper", "paper-mini", "reproduce-paper", "smoke", "tiny"]


def test_forms_offer_steps_and_profiles_as_choices():
    properties = parameter_schema(nightly).properties
    steps = list(read_yaml(ROOT / "dvc.yaml")["stages"])
    assert properties["profile"]["enum"] == PROFILES
    assert properties["from_step"]["enum"] == properties["to_step"]["enum"] == [None, *steps]
    assert properties["force"]["items"]["enum"] == steps
    assert parameter_schema(verify).properties["steps"]["items"]["enum"] == steps
    for flow in (promote, evaluate_champion, verify):
        assert parameter_schema(flow).properties["profile"]["enum"] == PROFILES


@pytest.mark.parametrize(
    ("given", "name", "expected"),
    [
        ({"profile": "smoke"}, "nightly", "smoke {} nightly"),
        ({"profile": None}, "verify", "tiny {} verify"),
        ({"plan": SimpleNamespace(profile="smoke", experiment="")}, None, "smoke {}"),
        ({"plan": SimpleNamespace(profile="smoke", experiment="longer")}, None, "smoke {} longer"),
    ],
)
def test_a_run_is_named_after_what_it_does(monkeypatch, given, name, expected):
    monkeypatch.setattr(naming, "flow_run", SimpleNamespace(parameters=given))
    monkeypatch.setattr(naming, "deployment", SimpleNamespace(name=name))
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert naming.run_name() == expected.format(head[:7])


def test_the_page_of_a_run_says_the_results(plan):
    assert headline(plan) == ""
    report = plan.root / "reports" / "tiny" / "8bit.json"
    report.parent.mkdir(parents=True)
    report.write_text('{"easy_vqa": 0.99731, "easy_vqa_refer": 0.9, "memes": null}')
    assert headline(plan) == "8 bits: easy_vqa 0.9973, easy_vqa_refer 0.9000, memes undefined"

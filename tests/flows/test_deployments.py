"""``prefect.yaml`` and what flows show, without a server."""

from __future__ import annotations

import ast
import subprocess
from types import SimpleNamespace

import pytest
from prefect.utilities.callables import parameter_schema

from flows import deploy, naming
from flows.artifacts import artifact_url, headline
from flows.command import machine
from flows.promote import evaluate_champion, promote
from flows.scheduled import nightly
from flows.verification import verify
from tests.flows.conftest import ROOT
from tinygptv.ground.errors import UserError
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
    assert entry["work_pool"] == {"name": POOL, "work_queue_name": "cards"}, "or two would share a GPU"
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
    for flow in (nightly, promote, evaluate_champion, verify):
        assert parameter_schema(flow).properties["processes"]["minimum"] == 1
        assert parameter_schema(flow).properties["runner"]["enum"] == [None, "local", "ray"]
        given = DEPLOYMENTS[flow.name if flow is not nightly else "nightly"]["parameters"]
        assert given.keys() <= parameter_schema(flow).properties.keys()


def test_each_queue_lets_one_run_work_and_keeps_the_limit_that_a_person_gave_it(tmp_path):
    made = []
    pools = ["{name: local, work_queue_name: cards}", "{name: local}", "{name: local, work_queue_name: card-1}"]
    entries = "".join(f"  - {{name: d{number}, work_pool: {pool}}}\n" for number, pool in enumerate(pools))
    (tmp_path / "prefect.yaml").write_text(f"deployments:\n{entries}")
    client = SimpleNamespace(
        read_work_queues=lambda work_pool_name: [SimpleNamespace(name=name) for name in ("default", "cards")],
        create_work_queue=lambda name, **options: made.append((name, options)),
    )
    deploy._make_queues(client, tmp_path)
    assert made == [("card-1", {"concurrency_limit": 1, "work_pool_name": POOL})]


def test_processes_and_runner_reach_the_steps_by_the_environment():
    assert machine(None, None) == {}
    assert machine(4, "ray") == {"TINYGPTV_PROCESSES": "4", "TINYGPTV_RUNNER": "ray"}
    with pytest.raises(UserError, match="TINYGPTV_PROCESSES is '0'"):
        machine(0, None)


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

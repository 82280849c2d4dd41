"""What a run says about configuration, environment and user, as it arrives in MLflow."""

import getpass
import json
import subprocess
import sys

import pytest

from tinygptv.ground import runtime
from tinygptv.ground.files import canonical
from tinygptv.tracking import facts

LIGHT = """
import sys, json
from tinygptv.tracking import facts
tags = facts.at_end()
assert "torch" not in sys.modules and "transformers" not in sys.modules
import torch
later = facts.at_end()
print(json.dumps([tags, later]))
"""


def test_the_environment_is_whole_where_torch_was_used_and_else_costs_no_import():
    done = subprocess.run([sys.executable, "-c", LIGHT], check=True, capture_output=True, text=True)
    light, full = json.loads(done.stdout)
    before, after = json.loads(light["environment"]), json.loads(full["environment"])
    assert {"python", "torch", "transformers", "processor"} <= before.keys()
    assert "cpu_capability" not in before
    assert after["cpu_capability"] == runtime.environment()["cpu_capability"]
    assert before.items() <= after.items()
    assert light["environment.sha256"] != full["environment.sha256"]


def test_a_device_that_fails_does_not_hide_the_error_of_the_step(monkeypatch, capfd):
    def fail():
        raise RuntimeError("CUDA error")

    monkeypatch.setattr(runtime, "environment", fail)
    monkeypatch.setitem(sys.modules, "torch", object())
    assert facts.environment()["torch"]
    assert "CUDA error" in capfd.readouterr().err


def test_a_user_without_a_name(monkeypatch):
    def fail():
        raise KeyError("uid not found: 4242")

    assert facts.user() == getpass.getuser()
    monkeypatch.setattr(getpass, "getuser", fail)
    assert facts.user() == "unknown"


def test_equal_values_have_one_digest():
    assert facts.digest({"b": [1, 2.5], "a": "ä"}) == facts.digest({"a": "ä", "b": [1, 2.5]})
    assert canonical({"b": [1, 2.5], "a": "ä"}) == '{"a":"ä","b":[1,2.5]}'
    assert facts.digest({"a": 1}) != facts.digest({"a": 2})


def test_the_inputs_of_a_stage_in_the_order_of_the_pipeline():
    deps = ["src/a.py", "data/${profile}/features", "data/${profile}/download", "data/tiny/shards/x", "data/tiny/other"]
    assert facts.inputs_of({"deps": deps}) == ("download", "shards", "features")
    assert facts.inputs_of({}) == ()


@pytest.mark.parametrize("error", [None, ValueError("no")])
def test_a_step_records_them_however_it_ends(tracking, step_run, error):
    run = step_run()
    try:
        with run:
            if error is not None:
                raise error
    except ValueError:
        pass
    tags = tracking.mlflow.get_run(run.run_id).data.tags
    params = {"seed": 7, "shards": {"images_per_shard": 16, "max_rejected": 0.0}}
    params["runtime"] = {"device": "cpu", "dtype": "float32", "threads": 1, "deterministic": True}
    assert tags["config.sha256"] == facts.digest(params)
    assert tags["dvc.inputs"] == "download"
    assert tags["user"] == getpass.getuser()
    environment = json.loads(tags["environment"])
    assert canonical(environment) == tags["environment"]
    assert facts.digest(environment) == tags["environment.sha256"]
    assert environment["python"] == sys.version.split()[0]

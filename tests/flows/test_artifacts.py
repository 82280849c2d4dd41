"""What a flow shows on Prefect's page."""

from __future__ import annotations

from types import SimpleNamespace

from flows import artifacts
from flows.runner import StepOutcome
from tinygptv.ground.files import write_json
from tinygptv.ground.folders import speed_file


def test_speeds_are_those_of_the_stages_that_this_run_trained(tmp_path, monkeypatch):
    tables: list[dict[str, object]] = []
    monkeypatch.setattr(artifacts, "create_table_artifact", lambda **told: tables.append(told))
    plan = SimpleNamespace(root=tmp_path, profile="tiny")
    for stage, rate in (("stage1", 10.0), ("stage2", 20.0)):
        write_json(speed_file(tmp_path, "tiny", stage), {"samples_per_second": rate})
    done = {
        "shards": StepOutcome(step="shards", state="Completed"),
        "stage1": StepOutcome(step="stage1", state="Completed"),
        "stage2": StepOutcome(step="stage2", state="Cached"),
        "stage3": StepOutcome(step="stage3", state="Completed"),
    }
    artifacts._speeds(plan, done)
    assert [(table["key"], table["table"]) for table in tables] == [
        ("speed", [{"stage": "stage1", "samples_per_second": 10.0}])
    ]
    artifacts._speeds(plan, {"stage2": done["stage2"]})
    assert len(tables) == 1

"""Runs that a killed flow left in Prefect, with a client of the test's own; tests/drills has the real server."""

from __future__ import annotations

import subprocess
import sys
import types
from contextlib import nullcontext

import pytest
from prefect.context import TagsContext
from prefect.states import Completed, Crashed, Pending, Running

from flows import reconcile


class Client:
    """Two runs and a task of one pipeline, as Prefect's client shows them."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.changed: list[tuple[str, str, bool]] = []

    def read_flow_runs(self, flow_run_filter):
        self.asked.append(flow_run_filter.tags.all_)
        return [types.SimpleNamespace(id=name, state=state) for name, state in (("old", Crashed()), ("new", Running()))]

    def read_task_runs(self, flow_run_filter):
        tasks = (("done", Completed()), ("open", Running()), ("waiting", Pending()), ("none", None))
        return [types.SimpleNamespace(id=name, state=state) for name, state in tasks]

    def set_flow_run_state(self, name, state, force):
        self.changed.append((name, state.name, force))

    set_task_run_state = set_flow_run_state


@pytest.fixture
def client(monkeypatch) -> Client:
    client = Client()
    monkeypatch.setattr(reconcile, "get_client", lambda sync_client: nullcontext(client))
    return client


def test_a_living_flow_is_left_alone(plan, client):
    with reconcile.alive(plan):
        assert plan.flow_mark.is_file()
        assert TagsContext.get().current_tags == {"pipeline.id=p1"}
        reconcile.close_left_runs(plan.flow_mark.parent)
    assert not plan.flow_mark.exists()
    reconcile.close_left_runs(plan.flow_mark.parent)
    assert client.asked == []


def test_a_killed_flow_is_closed_with_its_tasks_and_only_what_is_open(plan, client):
    code = (
        "import os, sys\n"
        "from flows.graph import RunPlan\n"
        "from flows.reconcile import alive\n"
        "with alive(RunPlan.model_validate_json(sys.argv[1])): os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", code, plan.model_dump_json()], check=False)
    assert plan.flow_mark.is_file()
    reconcile.close_left_runs(plan.flow_mark.parent)
    assert client.asked == [["pipeline.id=p1"]]
    assert client.changed == [(name, "Crashed", True) for name in ("new", "open", "waiting", "none")]
    assert not plan.flow_mark.exists()


def test_after_an_exception_the_next_flow_looks_once_more(plan, client):
    with pytest.raises(SystemExit), reconcile.alive(plan):
        sys.exit(143)
    other = plan.model_copy(update={"pipeline": "p2"})
    with reconcile.alive(other):
        reconcile.close_left_runs(other.flow_mark.parent)
    assert client.asked == [["pipeline.id=p1"]]
    assert not plan.flow_mark.exists()

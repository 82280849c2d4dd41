from __future__ import annotations

import subprocess
import sys

import pytest

from flows.parent_run import ParentRun, parent_run


def opening(code: str) -> ParentRun:
    return ParentRun(subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True))


def test_a_step_that_dvc_holds_for_done_wrongly_is_repeated():
    parent = opening("import json; print(json.dumps({'url': 'http://x', 'repeat': ['register']}))")
    assert parent.repeats("register")
    assert not parent.repeats("stage1")


@pytest.mark.parametrize("code", ["raise SystemExit(2)", "print('half'); raise SystemExit(1)"])
def test_where_mlflow_does_not_answer_dvc_decides(code):
    assert not opening(code).repeats("register")


def test_a_pipeline_without_a_run_of_its_own_asks_nobody(plan):
    with parent_run(plan) as parent:
        assert not parent.repeats("register")

"""A step that was killed goes on in its run: one run in the end, every point of its curve once."""

import uuid
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tinygptv.ground.processes import Interrupted
from tinygptv.tracking import shelf
from tinygptv.tracking import spool as spools
from tinygptv.tracking.shipping import ship_leftovers

MD5 = "f" * 32 + ".dir"
DEAD = "http://127.0.0.1:9"


def curve(tracking, run_id):
    return [(point.step, point.value) for point in tracking.mlflow.get_metric_history(run_id, "loss")]


def train(run, steps, killed=None):
    """A stage that logs its curve from the first step on, as a resumed one does from its resume point."""
    with run:
        for step in steps:
            run.metrics({"loss": 1.0 / step}, step)
            if step == killed:
                raise Interrupted(15)
        run.dataset("download", Path("data"), "0" * 32, "train", {})
        run.artifact(Path(__file__))
        run.tags({"dvc.md5": MD5})
    return run.run_id


def of_step(tracking, run_id):
    """All runs of the same name that are in the store."""
    name = tracking.mlflow.get_run(run_id).info.run_name
    experiment = tracking.experiment("tiny")
    return [run for run in tracking.mlflow.search_runs([experiment]) if run.info.run_name == name]


@pytest.fixture
def step(root):
    """A step of the test's own, so that runs can be counted; DVC has never taken a result of it."""
    name = f"step{uuid.uuid4().hex[:8]}"
    graph = YAML(typ="safe")
    content = graph.load(root / "dvc.yaml")
    content["stages"][name] = {"cmd": "x"}
    graph.dump(content, root / "dvc.yaml")
    return name


def test_a_stopped_step_goes_on_in_its_run(tracking, step_run, step, monkeypatch):
    monkeypatch.setenv("TINYGPTV_PIPELINE_ID", uuid.uuid4().hex)
    first = step_run(step)
    with pytest.raises(Interrupted):
        train(first, range(1, 9), killed=5)
    stopped = tracking.mlflow.get_run(first.run_id)
    assert stopped.info.status == "KILLED"
    monkeypatch.setenv("TINYGPTV_PIPELINE_ID", uuid.uuid4().hex)
    run_id = train(step_run(step), range(4, 9))  # the resume point was that of step 3
    (found,) = of_step(tracking, run_id)
    assert found.info.status == "FINISHED"
    assert curve(tracking, run_id) == [(step, 1.0 / step) for step in range(1, 9)]
    assert len(found.inputs.dataset_inputs) == 1
    assert found.data.tags["mlflow.parentRunId"] != stopped.data.tags["mlflow.parentRunId"]


def test_a_step_killed_unheard_goes_on_though_others_shipped_its_run(tracking, step_run, step, tmp_path, monkeypatch):
    def killed_at(last):
        run = step_run(step)
        run.__enter__()
        for at in range(1, last + 1):
            run.metrics({"loss": 1.0 / at}, at)
        run._closing.set()  # the thread ends with the process
        run._wanted.set()
        run._done.wait(30)
        run._spool.close()

    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", DEAD)
        killed_at(3)
    ship_leftovers(tmp_path / "spool", tracking, 60)
    (path,) = shelf.leftovers(tmp_path / "spool")
    assert shelf.waiting(tmp_path / "spool") == []
    run_id = tracking.run(tracking.experiment("tiny"), "spool.id", spools.read_header(path).spool)
    assert tracking.mlflow.get_run(run_id).info.status == "KILLED"
    path.write_bytes(path.read_bytes() + b'{"id": 99, "kind": "met')  # torn
    assert train(step_run(step), range(2, 6)) == run_id
    assert [run.info.status for run in of_step(tracking, run_id)] == ["FINISHED"]
    assert curve(tracking, run_id) == [(step, 1.0 / step) for step in range(1, 6)]


def record_in_lock(root, step, md5):
    lock = YAML(typ="safe")
    content = lock.load(root / "dvc.lock")
    content["stages"][step] = {"cmd": "x", "outs": [{"path": f"data/tiny/{step}", "md5": md5}]}
    lock.dump(content, root / "dvc.lock")


def test_a_result_that_dvc_never_took_is_made_again_in_the_same_run(tracking, step_run, step, capfd):
    first = train(step_run(step), range(1, 4))
    assert train(step_run(step), range(1, 4)) == first
    assert capfd.readouterr().err == ""
    assert [file.path for file in tracking.mlflow.list_artifacts(first)] == ["test_attempts.py"]
    assert len(of_step(tracking, first)) == 1
    assert curve(tracking, first) == [(step, 1.0 / step) for step in range(1, 4)]


def test_a_result_that_dvc_took_is_made_again_in_a_new_run(tracking, step_run, step, root):
    first = train(step_run(step), range(1, 4))
    record_in_lock(root, step, MD5)
    assert train(step_run(step), range(1, 4)) != first


def test_other_work_is_another_run(tracking, step_run, step, profile):
    first = step_run(step)
    with pytest.raises(Interrupted):
        train(first, range(1, 9), killed=5)
    object.__setattr__(profile, "seed", 8)
    second = train(step_run(step), range(1, 9))
    assert second != first.run_id
    assert tracking.mlflow.get_run(first.run_id).info.status == "KILLED"
    assert curve(tracking, second) == [(step, 1.0 / step) for step in range(1, 9)]


def test_after_an_error_the_next_attempt_is_a_run_of_its_own(tracking, step_run, step):
    first = step_run(step)
    with pytest.raises(ValueError, match="no"), first:
        raise ValueError("no")
    assert train(step_run(step), range(1, 3)) != first.run_id
    assert tracking.mlflow.get_run(first.run_id).info.status == "FAILED"


def test_a_spool_whose_writer_lives_is_left_alone(step_run, step, tmp_path):
    spool = spools.Spool.create(
        tmp_path, step=step, profile="tiny", work="w", pipeline=None, flow_run=None, git_sha="none"
    )
    assert spools.Spool.reopen(spool.path, pipeline=None, flow_run=None, git_sha="none") is None
    spool.close()

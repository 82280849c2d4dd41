"""A verification as a run in MLflow."""

import json
import uuid
from pathlib import Path

import pytest

from tinygptv.tracking import __main__ as command
from tinygptv.tracking import pages


def result(**changes) -> dict:
    step = {"notes": [], "inputs": [], "outputs": [], "reason": ""}
    return {
        "id": uuid.uuid4().hex,
        "commit": "c" * 40,
        "lock": "dvc.lock",
        "lock_sha256": "d" * 64,
        "profile": "tiny",
        "environment": {"torch": "2"},
        "equal": False,
        "seconds": 9.5,
        "steps": [
            {"step": "stage1", "state": "equal", "seconds": 4.0, **step},
            {"step": "stage2", "state": "differs", "seconds": 5.0, **step},
        ],
        **changes,
    }


def test_a_verification_is_one_run_however_often_it_is_recorded(tracking, root, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DVC_ROOT", str(root))
    monkeypatch.setenv("PREFECT_FLOW_RUN_ID", "flow-1")
    content = result()
    file = tmp_path / "result.json"
    file.write_text(json.dumps(content))
    for _ in range(2):
        assert command.main(["record-verification", "--file", str(file)]) == 0
    first, second = capsys.readouterr().out.splitlines()
    run = tracking.mlflow.get_run(tracking.run(tracking.experiment("tiny"), "prefect.flow_run_id", "flow-1"))
    assert first == second == pages.of_run("http://127.0.0.1:5000", run.info.experiment_id, run.info.run_id)
    assert (run.info.run_name, run.info.status) == ("verify", "FINISHED")
    assert run.data.metrics == {
        "equal": 1,
        "differing": 1,
        "seconds": 9.5,
        "seconds.stage1": 4.0,
        "seconds.stage2": 5.0,
    }
    assert len(tracking.mlflow.get_metric_history(run.info.run_id, "equal")) == 1
    expected = {
        "profile": "tiny",
        "git.sha": "c" * 40,
        "verification": "differs",
        "prefect.flow_run_id": "flow-1",
    }
    assert expected.items() <= run.data.tags.items()
    assert tracking.mlflow.get_experiment(run.info.experiment_id).name == "tinygptv/tiny"
    kept = tracking.mlflow.download_artifacts(run.info.run_id, "verify.json", str(tmp_path))
    assert json.loads(Path(kept).read_bytes()) == content


@pytest.mark.parametrize("content", [[], {}, result(steps=[{}]), result(seconds="x")])
def test_something_else_is_refused(tracking, root, tmp_path, monkeypatch, capsys, content):
    monkeypatch.setenv("DVC_ROOT", str(root))
    (tmp_path / "x.json").write_text(json.dumps(content))
    assert command.main(["record-verification", "--file", str(tmp_path / "x.json")]) == 2
    assert "is no result of `tinygptv verify --json`" in capsys.readouterr().err

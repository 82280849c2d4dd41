"""A family of ablations as runs in MLflow."""

import json

import pytest

from tinygptv.tracking import __main__ as command
from tinygptv.tracking import pages
from tinygptv.tracking.grid import FAMILY_TAG


def result(variant: str, stopped: str = "") -> dict:
    points = [{"step": 1, "loss": 3.0, "grad_norm": 2.0}, {"step": 2, "loss": 1.5, "grad_norm": 0.25}]
    return {
        "variant": variant,
        "seed": 8,
        "changes": {"stage2.trainable": ["projection"]},
        "experiment": f"ablation-tiny-llama-{variant}-seed8",
        "key": "k" * 64,
        "commit": "c" * 40,
        "began": 1_000_000,
        "ended": 2_000_000,
        "histories": {"stage1": points},
        "stopped": stopped,
        "accuracy": None if stopped else 0.5,
    }


def test_each_result_is_one_run_below_the_family_s_however_often_it_is_recorded(
    tracking, root, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("DVC_ROOT", str(root))
    experiment = tracking.experiment("tiny")
    same = {"dvc.exp.name": "ablation-tiny-llama-full-seed8", "dvc.exp.baseline": "c" * 40}
    tags = {"git.sha": "c" * 40, "profile": "tiny"}
    pipeline = tracking.pipeline(experiment, "p1", tags | same)
    earlier = tracking.pipeline(experiment, "p0", tags | same | {"dvc.exp.baseline": "d" * 40})
    file = tmp_path / "ablations-llama.json"
    file.write_text(json.dumps({"family": "llama", "profile": "tiny", "trained": [result("full")]}))
    assert command.main(["record-ablations", "--file", str(file)]) == 0
    trained = [result("full"), result("bare", "step 3: the loss (nan) is not finite")]
    file.write_text(json.dumps({"family": "llama", "profile": "tiny", "trained": trained}))
    for _ in range(2):
        assert command.main(["record-ablations", "--file", str(file)]) == 0
    parent = tracking.run(experiment, FAMILY_TAG, "llama")
    url = pages.of_run("http://127.0.0.1:5000", experiment, parent)
    assert capsys.readouterr().out.splitlines() == [url] * 3
    below = tracking.mlflow.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent}'")
    runs = {run.info.run_name: run for run in below}
    assert sorted(runs) == ["bare, seed 8", "full, seed 8"]
    full, bare = runs["full, seed 8"], runs["bare, seed 8"]
    assert full.data.metrics == {"stage1.loss": 1.5, "stage1.grad_norm": 0.25, "accuracy": 0.5}
    assert full.data.params == {"variant": "full", "seed": "8", "stage2.trainable": '["projection"]'}
    assert (full.info.status, full.info.start_time, full.info.end_time) == ("FINISHED", 1_000_000, 2_000_000)
    assert (bare.info.status, bare.data.tags["stopped"]) == ("FAILED", "step 3: the loss (nan) is not finite")
    assert len(tracking.mlflow.get_metric_history(full.info.run_id, "stage1.loss")) == 1
    assert tracking.mlflow.get_run(pipeline).data.tags["mlflow.parentRunId"] == full.info.run_id
    assert "mlflow.parentRunId" not in tracking.mlflow.get_run(earlier).data.tags


@pytest.mark.parametrize("content", [[], {}, {"family": "x", "profile": "tiny", "trained": [{}]}])
def test_something_else_is_refused(tracking, root, tmp_path, monkeypatch, capsys, content):
    monkeypatch.setenv("DVC_ROOT", str(root))
    (tmp_path / "x.json").write_text(json.dumps(content))
    assert command.main(["record-ablations", "--file", str(tmp_path / "x.json")]) == 2
    assert "is no result of benchmarks/ablations.py" in capsys.readouterr().err

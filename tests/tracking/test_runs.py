"""Step runs in a real MLflow store: what arrives, what happens twice, what happens without MLflow."""

import getpass
import json
import os
import subprocess
import sys
import time
import uuid

import pytest

from tinygptv.ground.errors import EXIT_PASSING
from tinygptv.ground.processes import Interrupted
from tinygptv.tracking import __main__ as command
from tinygptv.tracking import machine, pages, shelf
from tinygptv.tracking import runs as step_runs
from tinygptv.tracking import spool as spools
from tinygptv.tracking.pipelines import mark_of
from tinygptv.tracking.shipping import Shipment, ship_leftover, ship_leftovers

DEAD = "http://127.0.0.1:9"


def points(tracking, run_id, name="loss"):
    return [(point.step, point.value) for point in tracking.mlflow.get_metric_history(run_id, name)]


def test_everything_arrives(tracking, root, step_run, tmp_path, monkeypatch):
    pipeline = uuid.uuid4().hex
    monkeypatch.setenv("TINYGPTV_PIPELINE_ID", pipeline)
    monkeypatch.setenv("PREFECT_FLOW_RUN_ID", "flow-1")
    picture = tmp_path / "curve.txt"
    picture.write_text("curve")
    with step_run() as run:
        run.metrics({"loss": 2.0}, step=1)
        run.metrics({"loss": 1.0}, step=2)
        run.metrics({"seconds": 0.5})
        run.tags({"dvc.md5": "f" * 32 + ".dir"})
        run.params({"extra": {"list": [1, 2]}})
        run.dataset("download", root / "data/tiny/download", "0" * 32 + ".dir", "train", {"num_rows": 12})
        run.artifact(picture, "plots")
        picture.unlink()
    found = tracking.mlflow.get_run(run.run_id)
    assert found.info.status == "FINISHED"
    assert found.info.run_name == "shards"
    assert points(tracking, run.run_id) == [(1, 2.0), (2, 1.0)]
    assert found.data.metrics["seconds"] == 0.5
    expected = {"seed": "7", "runtime.threads": "1", "shards.images_per_shard": "16", "extra.list": "[1, 2]"}
    assert expected.items() <= found.data.params.items()
    tags = found.data.tags
    assert (tags["profile"], tags["prefect.flow_run_id"], tags["dvc.md5"]) == ("tiny", "flow-1", "f" * 32 + ".dir")
    assert tags["dvc.parent_md5"] == tags["dvc.input.download"] == "0123456789abcdef0123456789abcdef.dir"
    assert len(tags["git.sha"]) == 40
    assert [file.path for file in tracking.mlflow.list_artifacts(run.run_id, "plots")] == ["plots/curve.txt"]
    (dataset,) = found.inputs.dataset_inputs
    assert (dataset.dataset.name, dataset.dataset.digest) == ("download", "0" * 32 + ".dir")
    assert {tag.key: tag.value for tag in dataset.tags}["mlflow.data.context"] == "train"
    assert json.loads(dataset.dataset.profile) == {"num_rows": 12}
    assert run.url == pages.of_run("http://127.0.0.1:5000", found.info.experiment_id, run.run_id)
    parent = tracking.mlflow.get_run(tags["mlflow.parentRunId"])
    named = f"pipeline {tags['git.sha'][:7]} tiny"
    assert (parent.info.run_name, parent.data.tags["pipeline.id"]) == (named, pipeline)
    for columns, source in ((tags, "tinygptv.steps shards"), (parent.data.tags, "flows.pipeline")):
        assert columns["mlflow.user"] == getpass.getuser()
        assert (columns["mlflow.source.name"], columns["mlflow.source.type"]) == (source, "LOCAL")
        assert columns["mlflow.source.git.commit"] == tags["git.sha"]
    experiment = tracking.mlflow.get_experiment(found.info.experiment_id)
    assert experiment.name == "tinygptv/tiny"
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    assert shelf.waiting(tmp_path / "spool") == []
    assert not list((tmp_path / "spool").rglob("curve.txt"))


def test_steps_of_a_pipeline_share_one_parent_and_without_one_there_is_none(tracking, step_run, monkeypatch):
    monkeypatch.setenv("TINYGPTV_PIPELINE_ID", uuid.uuid4().hex)
    runs = []
    for step in ("download", "shards"):
        with step_run(step) as run:
            pass
        runs.append(tracking.mlflow.get_run(run.run_id))
    assert runs[0].data.tags["mlflow.parentRunId"] == runs[1].data.tags["mlflow.parentRunId"]
    monkeypatch.delenv("TINYGPTV_PIPELINE_ID")
    with step_run("features") as run:
        pass
    assert "mlflow.parentRunId" not in tracking.mlflow.get_run(run.run_id).data.tags


def test_the_runs_of_an_experiment_name_it(tracking, root, step_run, monkeypatch):
    monkeypatch.setenv("DVC_EXP_NAME", "wide-lora")
    monkeypatch.setenv("DVC_EXP_BASELINE_REV", "d" * 40)
    monkeypatch.setenv("TINYGPTV_PIPELINE_ID", uuid.uuid4().hex)
    monkeypatch.setenv("DVC_ROOT", str(root))
    with step_run() as run:
        pass
    command.main(["open-pipeline", "--id", os.environ["TINYGPTV_PIPELINE_ID"], "--profile", "tiny"])
    found = tracking.mlflow.get_run(run.run_id).data.tags
    parent = tracking.mlflow.get_run(found["mlflow.parentRunId"]).data.tags
    for tags in (found, parent):
        assert (tags["dvc.exp.name"], tags["dvc.exp.baseline"]) == ("wide-lora", "d" * 40)


@pytest.mark.parametrize(("error", "status"), [(ValueError("no"), "FAILED"), (Interrupted(15), "KILLED")])
def test_a_step_that_does_not_end_well(tracking, step_run, error, status):
    run = step_run()
    with pytest.raises(type(error)), run:
        raise error
    found = tracking.mlflow.get_run(run.run_id)
    assert found.info.status == status
    assert type(error).__name__ in found.data.tags["error"]


def unshipped(step_run, monkeypatch, tmp_path):
    """A spool that MLflow did not take."""
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", DEAD)
        (tmp_path / "x.txt").write_text("x")
        with step_run() as run:
            for step in range(5):
                run.metrics({"loss": 1.0 / (step + 1)}, step)
            run.artifact(tmp_path / "x.txt")
            run.dataset("d", tmp_path, "1" * 32, "test", {})
        assert run.run_id == run.url == ""
    (path,) = shelf.leftovers(tmp_path / "spool")
    return path


def test_without_mlflow_the_step_succeeds_and_a_later_one_ships(tracking, step_run, monkeypatch, tmp_path, capfd):
    path = unshipped(step_run, monkeypatch, tmp_path)
    told = capfd.readouterr().err
    assert told.count("\n") == 1
    assert str(path) in told
    assert "python -m tinygptv.tracking ship" in told
    spool = spools.read_header(path).spool
    with step_run("download"):
        pass
    assert capfd.readouterr().err == ""
    assert not path.exists()
    experiment = tracking.experiment("tiny")
    run_id = tracking.run(experiment, "spool.id", spool)
    assert len(points(tracking, run_id)) == 5
    assert tracking.mlflow.get_run(run_id).info.status == "FINISHED"
    assert [file.path for file in tracking.mlflow.list_artifacts(run_id)] == ["x.txt"]


def test_shipping_twice_adds_nothing(tracking, step_run, monkeypatch, tmp_path):
    path = unshipped(step_run, monkeypatch, tmp_path)
    header = spools.read_header(path)
    seen = []
    for _ in range(2):
        shipment = Shipment(path, header, tracking)
        assert shipment.advance()
        found = tracking.mlflow.get_run(shipment.run_id)
        seen.append((shipment.run_id, points(tracking, shipment.run_id), found.data, len(found.inputs.dataset_inputs)))
    assert seen[0][:2] == seen[1][:2]
    assert seen[0][2].to_dictionary() == seen[1][2].to_dictionary()
    assert (len(seen[1][1]), seen[1][3]) == (5, 1)


def test_a_killed_step_is_shipped_as_killed_even_with_a_torn_line(tracking, step_run, monkeypatch, tmp_path):
    path = unshipped(step_run, monkeypatch, tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    status = next(index for index, line in enumerate(lines) if b'"status"' in line)
    path.write_bytes(b"".join(lines[:status]) + lines[status][:10])
    spool = spools.read_header(path).spool
    assert ship_leftover(path, tracking)
    run_id = tracking.run(tracking.experiment("tiny"), "spool.id", spool)
    assert tracking.mlflow.get_run(run_id).info.status == "KILLED"
    assert len(points(tracking, run_id)) == 5
    assert shelf.waiting(path.parent) == []


def test_a_record_that_mlflow_refuses_does_not_hold_up_the_others(tracking, step_run, capfd):
    with step_run() as run:
        run.params({"once": 1})
        run.params({"once": 2, "other": 3})
        run.metrics({"bad*name": 1.0, "good": 2.0})
    found = tracking.mlflow.get_run(run.run_id)
    assert found.info.status == "FINISHED"
    assert (found.data.params["once"], found.data.params["other"]) == ("1", "3")
    assert found.data.metrics == {"good": 2.0}
    told = capfd.readouterr().err
    assert "refuses param once" in told
    assert "refuses metric bad*name" in told


def test_a_damaged_spool_does_not_stop_the_others(tracking, step_run, monkeypatch, tmp_path, capfd):
    path = unshipped(step_run, monkeypatch, tmp_path)
    strange = tmp_path / "spool" / "a.jsonl"
    strange.write_text('{"kind": "header", "unknown": 1}\n')
    ship_leftovers(tmp_path / "spool", tracking, 60)
    assert not path.exists()
    assert "a.jsonl could not be shipped" in capfd.readouterr().err


def test_commands_open_ship_and_close_a_pipeline(tracking, root, monkeypatch, capsys):
    monkeypatch.chdir(root)
    pipeline = uuid.uuid4().hex
    close = [
        "close-pipeline",
        "--id",
        pipeline,
        "--profile",
        "tiny",
        "--status",
        "FAILED",
        "--skipped",
        "download,shards",
    ]
    assert command.main(["open-pipeline", "--id", pipeline, "--profile", "tiny"]) == 0
    experiment = tracking.experiment("tiny")
    run = tracking.run(experiment, "pipeline.id", pipeline)
    assert tracking.mlflow.get_run(run).info.status == "RUNNING"
    assert command.main([*close, "--skipped", "download,shards"]) == 0
    url = tracking.url(experiment, run)
    opened, closed = capsys.readouterr().out.splitlines()
    assert (json.loads(opened), closed) == ({"url": url, "repeat": []}, url)
    found = tracking.mlflow.get_run(run)
    assert (found.info.status, found.data.tags["skipped"]) == ("FAILED", "download,shards")


def test_the_next_pipeline_closes_the_run_of_one_that_was_killed(tracking, root, monkeypatch, capsys):
    monkeypatch.chdir(root)
    dead, living, new = (uuid.uuid4().hex for _ in range(3))
    hold = (
        "import sys; from pathlib import Path; from tinygptv.ground.marks import held\n"
        "with held(Path(sys.argv[1])): print(flush=True); input()"
    )

    def status(pipeline):
        return tracking.mlflow.get_run(tracking.run(tracking.experiment("tiny"), "pipeline.id", pipeline)).info.status

    processes = {}
    for pipeline in (dead, living):
        assert command.main(["open-pipeline", "--id", pipeline, "--profile", "tiny"]) == 0
        line = [sys.executable, "-c", hold, str(mark_of(root / ".state" / "tiny", pipeline))]
        processes[pipeline] = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        processes[pipeline].stdout.readline()
    processes[dead].kill()
    processes[dead].communicate()
    assert command.main(["open-pipeline", "--id", new, "--profile", "tiny"]) == 0
    assert [status(pipeline) for pipeline in (dead, living, new)] == ["KILLED", "RUNNING", "RUNNING"]
    assert [path.name for path in (root / ".state" / "tiny" / "pipelines").iterdir()] == [living]
    assert command.main(["close-pipeline", "--id", living, "--profile", "tiny", "--status", "FAILED"]) == 0
    processes[living].communicate(b"\n")
    assert list((root / ".state" / "tiny" / "pipelines").iterdir()) == []
    assert status(living) == "FAILED"


def test_a_pipeline_s_run_tells_what_it_did_and_one_that_did_nothing_is_not_listed(
    tracking, root, step_run, monkeypatch, capsys
):
    monkeypatch.chdir(root)
    busy, idle = uuid.uuid4().hex, uuid.uuid4().hex
    reports = root / "reports" / "tiny"
    reports.mkdir(parents=True, exist_ok=True)
    (reports / "full.json").write_text('{"easy_vqa": 0.5}')
    (reports / "8bit.json").write_text('{"easy_vqa": 0.25}')
    runs, urls = {}, []
    for pipeline in (busy, idle):
        about = ["--id", pipeline, "--profile", "tiny"]
        assert command.main(["open-pipeline", *about]) == 0
        runs[pipeline] = tracking.run(tracking.experiment("tiny"), "pipeline.id", pipeline)
        if pipeline == busy:
            monkeypatch.setenv("TINYGPTV_PIPELINE_ID", pipeline)
            for step, seconds in (("shards", 3.5), ("features", 2)):
                with step_run(step) as run:
                    run.metrics({"seconds": seconds})
                    run.tags({"model.version": "m/4"} if step == "features" else {})
                urls.append(run.url)
        capsys.readouterr()
        assert command.main(["close-pipeline", *about, "--status", "FINISHED"]) == 0
        page = tracking.url(tracking.experiment("tiny"), runs[busy])
        assert capsys.readouterr().out == (f"{page}\n" if pipeline == busy else "")
    told = tracking.mlflow.get_run(runs[busy])
    expected = {"seconds.shards": 3.5, "seconds.features": 2.0, "full.easy_vqa": 0.5, "8bit.easy_vqa": 0.25}
    assert told.data.metrics == expected
    assert told.data.params == {"profile": "tiny", "seed": "7", "steps": "shards, features"}
    note = told.data.tags["mlflow.note.content"]
    assert f"- [shards]({urls[0]}) finished, 3.5 s\n- [features]({urls[1]}) finished, 2.0 s: [m version 4](" in note
    assert note.endswith(f"({pages.of_version('http://127.0.0.1:5000', 'm', '4')})")
    assert tracking.mlflow.get_run(runs[idle]).info.lifecycle_stage == "deleted"


def test_the_machine_is_measured_while_a_step_runs(tracking, step_run, monkeypatch):
    monkeypatch.setattr(step_runs, "SECONDS_BEFORE_IMPORT", 0.0)
    monkeypatch.setattr(machine, "SECONDS_BEFORE_THE_FIRST", 0.0)
    with step_run() as run:
        run.wait_for_id()
        deadline = time.monotonic() + 60
        while not (found := measured(tracking, run.run_id)) and time.monotonic() < deadline:
            time.sleep(0.1)
    assert {"system/cpu_utilization_percentage", "system/system_memory_usage_megabytes"} <= found
    assert tracking.mlflow.get_run(run.run_id).info.status == "FINISHED"


def measured(tracking, run):
    return {name for name in tracking.mlflow.get_run(run).data.metrics if name.startswith("system/")}


def test_ship_without_mlflow_is_one_line(root, monkeypatch, capfd):
    monkeypatch.chdir(root)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", DEAD)
    spool = spools.Spool.create(
        root / ".state/tiny/spool", step="shards", profile="tiny", work="", pipeline=None, flow_run=None, git_sha=""
    )
    spool.close()
    assert command.main(["ship"]) == EXIT_PASSING
    told = capfd.readouterr().err
    assert told.startswith(f"tracking: MLflow at {DEAD}")
    assert told.count("\n") == 1
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert command.main(["ship"]) == 0
    assert capfd.readouterr().out == "1 shipped, 0 of running steps left alone\n"


def test_light_modules_do_not_import_mlflow():
    code = (
        "import sys, tinygptv.tracking, tinygptv.tracking.runs, tinygptv.promotion.decide, tinygptv.tracking.spool\n"
        "assert not {'mlflow', 'torch', 'dvc_data'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_processes_that_create_the_store_at_once_do_not_clash(tmp_path):
    code = (
        "import sys, pathlib\n"
        "from tinygptv.tracking.client import Tracking\n"
        "t = Tracking.connect(pathlib.Path(sys.argv[1]))\n"
        "e = t.experiment('tiny'); print(e, t.pipeline(e, 'p', {'profile': 'tiny', 'git.sha': 'none'}))"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    results = [process.communicate() for process in started]
    assert results[0] == results[1]
    assert results[0][0].strip()
    assert results[0][1] == ""

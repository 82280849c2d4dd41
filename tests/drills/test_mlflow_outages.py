"""Drill 27: MLflow down, answering 500 or 429, five seconds late, losing answers, its disk full, while a stage trains.

A real stage runs in a process of its own and stops at each point of its curve until the test says go, so that a fault
covers the part of the training that it is meant for. The stage's thread ships all the while.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests import checkouts
from tests.checkouts import Checkout, run_step
from tests.drills.faulty_proxy import FAULTS, FaultyProxy
from tests.drills.mlflow_server import MlflowServer, mlflow_server
from tests.drills.projects import record
from tinygptv.data.fit import COUNTS
from tinygptv.ground.errors import EXIT_PASSING
from tinygptv.ground.files import read_json
from tinygptv.tracking import runs, shelf
from tinygptv.tracking import spool as spools
from tinygptv.tracking.client import Tracking
from tinygptv.tracking.machine import PREFIX

POINTS = 12
PARTS = {"beginning": (0, 4), "middle": (4, 8), "end": (8, POINTS + 1), "whole": (0, POINTS + 1)}
"""First point of the fault, and the one at which it is over."""
FULL = "disk full"

STOPPING = """
import sys, time
from tinygptv.tracking import runs
runs.SECONDS_BEFORE_IMPORT, runs.SECONDS_BETWEEN_SHIPMENTS = 0.0, 0.1
record, times = runs.StepRun.metrics, {"record": 0.0, "steps": 0.0, "left": time.perf_counter()}
def metrics(self, values, step=None):
    begun = time.perf_counter()
    record(self, values, step)
    ended = time.perf_counter()
    times["steps"] += begun - times["left"]
    times["record"] += ended - begun
    if step is not None:
        print("point", step, times["record"], times["steps"], flush=True)
        sys.stdin.readline()
    times["left"] = time.perf_counter()
runs.StepRun.metrics = metrics
"""

PAGES = """
from pathlib import Path
from sqlalchemy import event
from sqlalchemy.pool import Pool
@event.listens_for(Pool, "checkout")
def limit(connection, record, proxy):
    connection.execute(f"PRAGMA max_page_count = {Path('disk-is-full').read_text()}")
"""
"""SQLite's own limit: a database with as many pages cannot grow, as on a full disk."""


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[MlflowServer]:
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as server:
        yield server


@pytest.fixture(scope="module")
def reference(with_stage1: Checkout, tmp_path_factory) -> Checkout:
    """``stage1`` without MLflow and without a fault, a point of its curve at every step. Read only."""
    made = Checkout(shutil.copytree(with_stage1.root, tmp_path_factory.mktemp("reference") / "checkout"))
    made.edit("log_every: 3", "log_every: 1")
    record(made.root, "shards", "backbones", "features")
    with pytest.MonkeyPatch.context() as patch:
        assert run_step(made.root, "stage1", patch) == 0
    shutil.rmtree(made.state)
    return made


@pytest.fixture
def proxy(server: MlflowServer, monkeypatch) -> Iterator[FaultyProxy]:
    proxy = FaultyProxy(server.port)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", proxy.url)
    yield proxy
    server.fill_disk(False)
    proxy.close()


@pytest.fixture
def untrained(reference: Checkout, tmp_path) -> Checkout:
    checkout = Checkout(shutil.copytree(reference.root, tmp_path / "checkout"))
    shutil.rmtree(checkout.data / "stage1")
    return checkout


def switch(proxy: FaultyProxy, server: MlflowServer, fault: str) -> None:
    server.fill_disk(fault == FULL)
    proxy.mode = "pass" if fault == FULL else fault


def train(
    checkout: Checkout,
    start,
    part: str,
    fault: Callable[[bool], object],
    attempt: Callable[[float], None],
    before: str = "",
) -> str:
    """Train with a fault in a part of the training; MLflow is well afterwards.

    Args:
        checkout: where.
        start: the fixture.
        part: of ``PARTS``.
        fault: begins and ends it.
        attempt: waits until the stage's thread has tried MLflow, or for some seconds.
        before: code for the stage's process.

    Returns:
        What the stage said on stderr.
    """
    begin, over = PARTS[part]
    fault(begin == 0)
    process = start(checkout, "stage1", before=STOPPING + before)
    for point in range(1, POINTS + 1):
        line = next(line for line in process.stdout if line.startswith("point "))
        number, record, steps = line.split()[1:]
        assert int(number) == point
        attempt(0.5 if begin <= point - 1 < over else 3.0)
        if point in (begin, over):
            fault(point == begin)
        process.stdin.write("\n")
        process.stdin.flush()
    assert float(record) < 0.01 * float(steps) + 0.05  # a few dozen lines to write; no request has this long
    _, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    fault(False)
    return error


def wait_for_traffic(proxy: FaultyProxy, seconds: float) -> None:
    before, deadline = proxy.seen.total(), time.monotonic() + seconds
    while proxy.seen.total() == before and time.monotonic() < deadline:
        time.sleep(0.02)


def ship(root: Path, codes: tuple[int, ...] = (0,)) -> int:
    command = [sys.executable, "-m", "tinygptv.tracking", "ship"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode in codes, done.stderr
    return done.returncode


def check_records(checkout: Checkout) -> None:
    """Everything that the stage recorded is in MLflow, and nothing twice."""
    tracking = Tracking.connect(checkout.root)
    spool = shelf.done_spool(checkout.state / "spool", "stage1")
    assert shelf.leftovers(spool.parent.parent) == []
    header, (events, _) = spools.read_header(spool), spools.read_events(spool)
    found = tracking.mlflow.search_runs([tracking.experiment("smoke")], f"tags.`spool.id` = '{header.spool}'")
    assert [run.info.status for run in found] == ["FINISHED"]
    run = found[0]
    curve = read_json(checkout.data / "stage1" / "history.json")
    assert len(curve) == POINTS
    measured = {event["name"] for event in events if event["kind"] == "metric" and event["name"].startswith(PREFIX)}
    assert run.data.metrics.keys() == {"loss", "lr", "grad_norm", "seconds", *COUNTS} | measured
    for name in ("loss", "lr", "grad_norm"):
        history = tracking.mlflow.get_metric_history(run.info.run_id, name)
        assert [(point.step, point.value) for point in history] == [(point["step"], point[name]) for point in curve]
    assert len(tracking.mlflow.get_metric_history(run.info.run_id, "seconds")) == 1
    expected = {"param": dict[str, str](), "tag": dict[str, str]()}
    for event in events:
        if event["kind"] in expected:
            expected[event["kind"]][event["name"]] = event["value"]
    assert expected["param"].items() == run.data.params.items()
    assert expected["tag"].items() <= run.data.tags.items()
    files = {file.path: file.file_size for file in tracking.mlflow.list_artifacts(run.info.run_id)}
    made = {path.name: path.stat().st_size for path in (checkout.data / "stage1").iterdir()}
    assert files == made
    assert sorted(data.dataset.name for data in run.inputs.dataset_inputs) == ["backbones", "features", "shards"]


@pytest.mark.drills
@pytest.mark.drill(27, "MLflow down, 500, 429, late, answers lost, disk full: same bytes, records exactly once")
@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("fault", [*FAULTS, FULL])
def test_a_fault_changes_no_bit_and_loses_no_record(
    fault, part, untrained, reference, start, proxy, server, monkeypatch
):
    switch_to = partial(switch, proxy, server)
    said = train(
        untrained, start, part, lambda on: switch_to(fault if on else "pass"), partial(wait_for_traffic, proxy)
    )
    assert fault in ("down", FULL) or proxy.seen[fault]
    assert ("tracking: " in said) == (part in ("end", "whole"))
    check(untrained, reference, said, monkeypatch, server.url)


@pytest.mark.drills
@pytest.mark.drill(27, "MLflow does what it is asked, and each kind of answer is lost once: records exactly once")
def test_every_answer_is_lost_once(untrained, reference, start, proxy):
    """A request that is sent again without a look makes a second run."""
    attempt = partial(wait_for_traffic, proxy)
    train(untrained, start, "whole", lambda on: setattr(proxy, "mode", "lost once"), attempt)
    for _ in range(10):
        if ship(untrained.root, codes=(0, EXIT_PASSING)) == 0:
            break
    assert {f"/api/2.0/mlflow/runs/{name}" for name in ("create", "log-batch", "log-inputs", "update")} <= proxy.lost
    proxy.mode = "pass"
    assert untrained.outputs() == reference.outputs()
    check_records(untrained)


def check(checkout: Checkout, reference: Checkout, said: str, monkeypatch, uri: str) -> None:
    """The pass line, once MLflow is well again."""
    assert checkout.outputs() == reference.outputs()
    kept = shelf.leftovers(checkout.state / "spool")
    complaints = [line for line in said.splitlines() if line.startswith("tracking: ")]
    assert len(complaints) == len(kept)
    assert all(f"{spool} and shipped by the next step" in line for spool, line in zip(kept, complaints, strict=True))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    for _ in range(2):  # the second time adds nothing
        ship(checkout.root)
        check_records(checkout)


@pytest.mark.drills
@pytest.mark.drill(27, "the default database, mlflow.db, on a full disk: same bytes, records exactly once")
@pytest.mark.parametrize("part", PARTS)
def test_a_full_disk_under_the_default_store(part, untrained, reference, start, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    full = untrained.root / "disk-is-full"
    # the database is not there yet: at the beginning, MLflow gets room for a part of its tables
    full.write_text("60")
    said = train(
        untrained,
        start,
        part,
        lambda on: full.write_text("60" if on else "1000000"),
        time.sleep,
        before=PAGES,
    )
    assert ("tracking: " in said) == (part == "whole")  # at the end, the rest still fits into SQLite's free pages
    check(untrained, reference, said, monkeypatch, f"sqlite:///{untrained.root / 'mlflow.db'}")


@pytest.mark.drills
@pytest.mark.drill(27, "MLflow down during a stage: the next step ships what was left")
def test_the_next_step_ships(untrained, reference, start, proxy, server, monkeypatch):
    proxy.mode = "down"
    train(untrained, start, "whole", lambda on: None, time.sleep)
    assert shelf.leftovers(untrained.state / "spool")
    proxy.mode = "pass"
    _, error = start(untrained, "shards").communicate(timeout=120)
    assert error == ""
    assert untrained.outputs() == reference.outputs()
    check_records(untrained)


@pytest.mark.drill(27, "MLflow down during a whole stage: same bytes, every record kept")
def test_without_mlflow(untrained, reference, run, monkeypatch, capfd):
    """The fast slice: nothing listens, and the stage runs in this process."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setattr(checkouts, "OfflineRun", runs.StepRun)
    monkeypatch.setattr(runs, "SECONDS_BEFORE_IMPORT", 0.0)
    assert run(untrained, "stage1") == 0
    assert "python -m tinygptv.tracking ship" in capfd.readouterr().err
    assert untrained.outputs() == reference.outputs()
    (spool,) = shelf.leftovers(untrained.state / "spool")
    curve = read_json(untrained.data / "stage1" / "history.json")
    events, _ = spools.read_events(spool)
    losses = [event["value"] for event in events if event["kind"] == "metric" and event["name"] == "loss"]
    assert losses == [point["loss"] for point in curve]
    assert spools.last_status(events) == "FINISHED"

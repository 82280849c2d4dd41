"""A stage shared by several processes: the bytes of one, one line of failure, one place to stop, one record."""

from __future__ import annotations

import shutil
import signal

import pytest

from tests.checkouts import run_step
from tests.drills import aftermath
from tests.groups import group
from tests.steps.test_train import stop_after
from tinygptv.data.batches import StageBatches
from tinygptv.ground.errors import DataError
from tinygptv.ground.names import STAGES
from tinygptv.planning.throughput import SAMPLES
from tinygptv.tracking.machine import PREFIX
from tinygptv.tracking.spool import read_events


def shared(checkout, stage, size, prepare=lambda rank, patch: None):
    """How the processes end that share a stage; ``prepare`` patches each."""

    def run(rank):
        patch = pytest.MonkeyPatch()
        prepare(rank, patch)
        return run_step(checkout.root, stage, patch)

    return group(size, run)


def said(ended):
    """What all of them printed on standard error, and what the main one did besides."""
    return [line for each in ended for line in each.log.splitlines()]


@pytest.fixture
def five(checkout):
    """Stage 2, with adapters and dropout, in five micro-batches a step."""
    checkout.edit("batch_size: 8", "batch_size: 5")
    checkout.edit("micro_batch_size: 4", "micro_batch_size: 1")
    return checkout


def alone(checkout, run, stage):
    """The bytes and metrics of one process; the checkout is as before."""
    assert run(checkout, stage) == 0
    found = aftermath.results(checkout, stage), aftermath.metrics(checkout, stage)
    aftermath.clear(checkout, stage)
    return found


@pytest.mark.drills
@pytest.mark.parametrize("size", [2, 3, 4, 7])
def test_any_number_of_processes_ends_with_the_bytes_of_one(five, run, size):
    files, metrics = alone(five, run, "stage2")
    ended = shared(five, "stage2", size)
    assert [each.code for each in ended] == [0] * size, said(ended)
    assert aftermath.final(five, "stage2", files, metrics) == []
    assert [each.log for each in ended[1:]] == [""] * (size - 1), "the main process speaks for all"
    spare = f"stage2: {size - 5} of {size} processes are spare: a step has 5 micro-batches"
    assert (spare in ended[0].log) == (size > 5)


@pytest.mark.drills
@pytest.mark.parametrize("features", ["cached", "in_loop"])
@pytest.mark.parametrize("compiled", ["false", "true"])
def test_all_stages_in_eight_micro_batches(checkout, run, compiled, features):
    """Each stage from what a group of another size has left, with looks at held-out records."""
    checkout.edit("micro_batch_size: 4", "micro_batch_size: 1")
    checkout.edit("compile: false", f"compile: {compiled}")
    checkout.edit("features: cached", f"features: {features}")
    checkout.edit("validation: null", "validation: {every: 3, batches: 5, questions: 4, keep: score, patience: null}")
    for stage, size in zip(STAGES, (2, 3, 4, 2), strict=True):
        aftermath.clear(checkout, stage)
        files, metrics = alone(checkout, run, stage)
        assert {each.code for each in shared(checkout, stage, size)} == {0}
        assert aftermath.final(checkout, stage, files, metrics) == []


def test_a_signal_to_any_process_stops_all_at_one_step_and_another_number_goes_on(five, run):
    files, metrics = alone(five, run, "stage2")

    def stopped(rank, patch):
        if rank == 1:
            stop_after(patch, 5)

    ended = shared(five, "stage2", 3, stopped)
    assert [each.code for each in ended] == [128 + signal.SIGTERM] * 3
    assert [line for line in said(ended) if "stopped" in line] == [
        "stage2: stopped by SIGTERM; run the command again to go on"
    ]
    assert aftermath.newest_point(five, "stage2") == 5
    ended = shared(five, "stage2", 2)
    assert [each.code for each in ended] == [0, 0]
    assert said(ended).count("stage2: going on after step 5") == 1
    events = [event for path in aftermath.spools(five, "stage2") for event in read_events(path)[0]]
    names = {event["name"] for event in events if "name" in event}
    assert {name for name in names if f"{SAMPLES}/" in name} == {f"{PREFIX}{SAMPLES}/{rank}" for rank in range(3)}
    assert aftermath.final(five, "stage2", files, metrics) == []


@pytest.mark.drills
def test_what_one_process_finds_damaged_is_one_line_from_all(five):
    make = StageBatches.batch

    def damaged(rank, patch):
        def batch(self, step, wanted=range):
            if (rank, step) == (2, 3):
                raise DataError("record 7 is damaged; run `dvc checkout`")
            return make(self, step, wanted)

        patch.setattr(StageBatches, "batch", batch)

    ended = shared(five, "stage2", 3, damaged)
    assert [each.code for each in ended] == [2, 2, 2]
    assert [line for line in said(ended) if "damaged" in line or "process" in line] == [
        "stage2: record 7 is damaged; run `dvc checkout`"
    ]
    assert not (five.data / "stage2").exists()


def test_what_is_no_stage_is_not_shared(checkout):
    shutil.rmtree(checkout.data / "features")
    ended = shared(checkout, "features", 2)
    assert [each.code for each in ended] == [2, 2]
    assert said(ended) == ["features: one process runs it, as it is no stage; call it without torchrun"]

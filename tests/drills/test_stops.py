"""SIGTERM while a step computes, and again and again while it saves."""

from __future__ import annotations

import os
import shutil
import signal

import pytest

from tests.drills import aftermath


@pytest.mark.drill(3, "SIGTERM within a step, and again at every flush of the save")
@pytest.mark.parametrize("step", [3, 8, 12])
def test_a_second_signal_during_the_save_changes_nothing(checkout, with_stage1, run, capfd, monkeypatch, step):
    """Step 3 lies between checkpoints, 8 on one, and 12 is the last."""
    from tinygptv.training import loop

    shutil.rmtree(checkout.data / "stage1")
    compute, flush = loop.optimizer_step, os.fsync
    steps = iter(range(1, 100))
    stopped = []

    def optimizer_step(*arguments, **how):
        result = compute(*arguments, **how)
        if next(steps) == step:
            signal.raise_signal(signal.SIGTERM)
            stopped.append("while computing")
        return result

    def fsync(handle):
        if stopped:
            signal.raise_signal(signal.SIGTERM)
            stopped.append("while saving")
        flush(handle)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "optimizer_step", optimizer_step)
        patch.setattr(os, "fsync", fsync)
        assert run(checkout, "stage1") == 143
    assert stopped.count("while saving") >= 3
    assert capfd.readouterr().err == "stage1: stopped by SIGTERM; run the command again to go on\n"
    assert aftermath.newest_point(checkout, "stage1") == step
    assert not aftermath.published(checkout, "stage1")

    assert run(checkout, "stage1") == 0
    assert f"stage1: going on after step {step}\n" in capfd.readouterr().out
    assert aftermath.results(checkout, "stage1") == aftermath.results(with_stage1, "stage1")
    assert aftermath.left_over(checkout, "stage1") == []

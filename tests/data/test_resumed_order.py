"""Going on at any step, with any number of workers, gives the very batches that would have come."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tinygptv.config import Config, Loader
from tinygptv.data.batches import Batch, StageBatches
from tinygptv.data.loading import load

EPOCH, NEXT = 10, 50
WORKERS = (0, 1, 2, 4)


@pytest.fixture
def batches(build: Any, smoke: Config) -> StageBatches:
    """Two epochs of ten steps, of two micro-batches each; later steps are those of further epochs."""
    changes = {"steps_per_epoch": EPOCH, "epochs": 2, "batch_size": 8, "micro_batch_size": 4}
    made: StageBatches = build(smoke.stage4.model_copy(update=changes))
    return made


def assert_same(one: list[Batch], other: list[Batch]) -> None:
    assert len(one) == len(other) == 2
    for a, b in zip(one, other, strict=True):
        assert a.record_ids == b.record_ids
        for name in ("input_ids", "attention_mask", "labels", "image_features"):
            assert torch.equal(getattr(a, name), getattr(b, name)), name


def compare(batches: StageBatches, step: int, workers: int, expected: list[list[Batch]]) -> None:
    following = list(load(batches.batch, step, step + NEXT, Loader(workers=workers, prefetch=2)))
    assert len(following) == NEXT
    for made, wanted in zip(following, expected[step : step + NEXT], strict=True):
        assert_same(made, wanted)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.drill(9, "resume with 0, 1, 2 and 4 workers: the same records in the same order")
@pytest.mark.parametrize("workers", WORKERS)
def test_the_next_batches_are_the_same(batches: StageBatches, workers: int) -> None:
    """At the start, within an epoch, and at its edge."""
    expected = [batches.batch(step) for step in range(2 * EPOCH + NEXT)]
    assert expected[0][0].record_ids != expected[EPOCH][0].record_ids
    for step in (0, 7, EPOCH):
        compare(batches, step, workers, expected)


@pytest.mark.drills
@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.drill(10, "resume at every step of two epochs: the next 50 batches are equal", trials=2 * EPOCH)
@pytest.mark.parametrize("workers", WORKERS)
def test_the_next_batches_are_the_same_from_every_step(batches: StageBatches, workers: int) -> None:
    expected = [batches.batch(step) for step in range(2 * EPOCH + NEXT)]
    for step in range(2 * EPOCH):
        compare(batches, step, workers, expected)

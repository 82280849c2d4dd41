"""Batches come in the order of their steps, whoever makes them, and leave the generators of the loop alone."""

from __future__ import annotations

import errno
import os

import pytest
import torch

from tinygptv.config import Loader
from tinygptv.data.loading import load
from tinygptv.data.record_rules import RecordError
from tinygptv.ground.errors import DataError, PassingError


def settings(workers: int) -> Loader:
    return Loader(workers=workers, prefetch=2)


def made(step: int) -> tuple[int, int, torch.Tensor]:
    return step, os.getpid(), torch.full((2, 3), step)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("workers", [0, 1, 2, 4])
def test_every_step_comes_once_and_in_its_place(workers: int) -> None:
    batches = list(load(made, 3, 12, settings(workers)))
    assert [step for step, _, _ in batches] == list(range(3, 12))
    assert all(torch.equal(tensor, torch.full((2, 3), step)) for step, _, tensor in batches)
    makers = {pid for _, pid, _ in batches}
    assert makers == {os.getpid()} if workers == 0 else len(makers) == workers and os.getpid() not in makers


@pytest.mark.parametrize("workers", [0, 2])
def test_the_loop_s_generator_is_left_alone(workers: int) -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    assert len(list(load(made, 0, 4, settings(workers)))) == 4
    assert torch.equal(torch.get_rng_state(), before)


def test_nothing_is_left_to_do() -> None:
    assert list(load(made, 5, 5, settings(2))) == []


def damaged(step: int) -> int:
    if step == 2:
        raise RecordError("is damaged", "train-7")
    return step


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_record_is_one_line_also_from_a_worker(workers: int) -> None:
    with pytest.raises(DataError) as refused:
        list(load(damaged, 0, 4, settings(workers)))
    assert str(refused.value) == "train-7: is damaged"


def of_a_disk(step: int) -> int:
    if step == 2:
        raise OSError(errno.EIO, os.strerror(errno.EIO), "/mnt/shards/train-000007.tar")
    return step


@pytest.mark.parametrize("workers", [0, 2])
def test_a_disk_that_does_not_answer_stays_a_passing_fault_also_from_a_worker(workers: int) -> None:
    with pytest.raises(PassingError) as refused:
        list(load(of_a_disk, 0, 4, settings(workers)))
    assert "Input/output error (/mnt/shards/train-000007.tar)" in str(refused.value)
    assert "Traceback" not in str(refused.value)

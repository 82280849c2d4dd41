"""Processes that share a step: what they tell each other, and that none goes on when one has ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
import torch

from tests.groups import group
from tinygptv.ground.errors import PassingError, UserError
from tinygptv.ground.workers import ALONE, Workers


def said(work):
    """What each process of a group of three prints as JSON."""

    def run(rank):
        print(json.dumps(work(Workers.join())))
        return 0

    return [json.loads(ended.log.splitlines()[-1]) for ended in group(3, run)]


def test_what_one_tells_all_know():
    def work(workers):
        told = workers.tell("ä" * workers.rank)
        numbers = workers.numbers(10 * workers.rank)
        rows = workers.gather(torch.tensor([workers.rank + 0.5, 7.0], dtype=torch.float64))
        stop = [workers.agree_to_stop(15 if workers.rank == 2 else None), workers.agree_to_stop(None)]
        return [workers.rank, workers.size, workers.is_main, told, numbers, rows.tolist(), stop]

    shared = [["", "ä", "ää"], [0, 10, 20], [[0.5, 7.0], [1.5, 7.0], [2.5, 7.0]], [15, None]]
    assert said(work) == [[rank, 3, rank == 0, *shared] for rank in range(3)]


def test_a_process_alone_is_a_group_of_one(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert Workers.join() == ALONE
    rows = ALONE.gather(torch.ones(2))
    assert (ALONE.tell("a"), ALONE.numbers(3), rows.tolist(), list(ALONE.share(5))) == (
        ["a"],
        [3],
        [[1, 1]],
        [*range(5)],
    )
    assert ALONE.first_to_end(2, "") is None


def test_a_step_alone_needs_no_torch():
    code = "import sys\nfrom tinygptv.ground.workers import ALONE\nALONE.barrier(); ALONE.agree_to_stop(None)\n"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}print('torch' in sys.modules)"], capture_output=True, text=True
    )
    assert done.stdout == "False\n", done.stderr


def test_slices_of_what_some_hold_reach_their_owners():
    def work(workers):
        mine = torch.arange(6.0) + 10 * workers.rank if workers.rank != 1 else None
        return [part.tolist() for part in workers.exchange(mine, [0, 2], 2, torch.device("cpu"))]

    assert said(work) == [[[2.0 * at, 2.0 * at + 1], [20 + 2.0 * at, 21 + 2.0 * at]] for at in range(3)]


def test_a_group_that_is_started_again_meets_in_the_same_store():
    """As torchrun does it: what the group before has left there is not taken for this one's."""
    from torch.distributed import TCPStore

    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)

    def run(rank):
        workers = Workers.join()
        print(workers.numbers(workers.rank), workers.first_to_end(2, "left behind") if rank == 0 else None)
        return 0

    logs = [[each.log for each in group(size, run, store=store)] for size in (3, 3, 2)]
    assert logs == [[f"{[*range(size)]} None\n"] * size for size in (3, 3, 2)]


def test_what_they_see_must_be_the_same():
    def work(workers):
        workers.must_agree({"a": {"b": 1}, "c": 2})
        with pytest.raises(UserError) as refused:
            workers.must_agree({"a": {"b": int(workers.rank == 1)}, "c": 2})
        return str(refused.value)

    for line in said(work):
        assert line.startswith("processes 0 and 1 of 3 differ in a.b (0 -> 1); all need the same kind of machine")


def test_the_first_to_end_says_why_and_all_leave_with_its_code():
    def run(rank):
        workers = Workers.join()
        try:
            if rank == 1:
                raise UserError("the disk is full")  # noqa: TRY301
            workers.barrier()
        except UserError as error:
            code = 2 if rank == 1 else 75
            first = workers.first_to_end(code, str(error))
            print(type(error).__name__, error, first)
            return code if first is None else first
        return 0

    ended = group(3, run)
    expected = [("Peer", 2), ("User", None), ("Peer", 2)]
    assert [each.code for each in ended] == [2, 2, 2]
    assert [each.log for each in ended] == [f"{kind}Error the disk is full {first}\n" for kind, first in expected]


def test_no_process_waits_for_one_that_was_killed():
    def run(rank):
        workers = Workers.join()
        if rank == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        try:
            for _ in range(3):
                workers.barrier()
        except PassingError as error:
            print(error)
            return 75
        return 0

    ended = group(3, run)
    assert [each.code for each in ended] == [75, 75, -signal.SIGKILL]
    assert all("has ended or does not answer" in each.log for each in ended[:2])
    assert max(each.seconds for each in ended) < 60

"""The batcher: together what came together, never more than fits, and nobody pays for another one's fault."""

from __future__ import annotations

import asyncio
import threading

import pytest

from tinygptv.serving.batching import Batcher


def run(act, work, max_batch=4, max_size=100, max_wait=0.05):
    """Let ``act`` talk to a batcher; its result, and the batches that were made."""
    batches: list[tuple[object, list[object]]] = []

    def noted(key, tasks):
        batches.append((key, list(tasks)))
        return work(key, tasks)

    async def go():
        batcher = Batcher(noted, max_batch=max_batch, max_size=max_size, max_wait=max_wait)
        batcher.start()
        try:
            return await act(batcher)
        finally:
            await batcher.stop()

    return asyncio.run(go()), batches


def double(key, tasks):
    return [2 * task for task in tasks]


def all_of(*tasks):
    async def act(batcher):
        return await asyncio.gather(*(batcher.submit(*task) for task in tasks))

    return act


def test_what_comes_together_is_answered_together_and_in_order():
    results, batches = run(all_of(*(("k", number) for number in range(10))), double)
    assert results == [2 * number for number in range(10)]
    assert [tasks for _, tasks in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_keys_do_not_mix_and_the_oldest_is_next():
    results, batches = run(all_of(("a", 1), ("b", 2), ("a", 3), ("b", 4)), double)
    assert results == [2, 4, 6, 8]
    assert batches == [("a", [1, 3]), ("b", [2, 4])]


def test_a_batch_is_bounded_by_its_largest_task():
    _, batches = run(all_of(("k", 1, 10), ("k", 2, 10), ("k", 3, 50), ("k", 4, 50), ("k", 5, 500)), double)
    assert [tasks for _, tasks in batches] == [[1, 2], [3, 4], [5]]


def test_while_one_batch_is_at_work_the_next_gathers():
    may = threading.Event()

    def slow(key, tasks):
        assert may.wait(10)
        return double(key, tasks)

    async def act(batcher):
        first = asyncio.create_task(batcher.submit("k", 0))
        await asyncio.sleep(0.05)
        more = [asyncio.create_task(batcher.submit("k", number)) for number in (1, 2, 3)]
        await asyncio.sleep(0.05)
        assert batcher.waiting == 3
        may.set()
        return await asyncio.gather(first, *more)

    results, batches = run(act, slow, max_wait=0.0)
    assert results == [0, 2, 4, 6]
    assert [tasks for _, tasks in batches] == [[0], [1, 2, 3]]


def test_only_the_faulty_task_fails():
    def divide(key, tasks):
        return [1 / task for task in tasks]

    async def act(batcher):
        return await asyncio.gather(*(batcher.submit("k", task) for task in (1, 0, 2)), return_exceptions=True)

    results, _ = run(act, divide)
    assert (results[0], results[2]) == (1, 0.5)
    assert isinstance(results[1], ZeroDivisionError)


def test_stopping_finishes_what_waits():
    async def act(batcher):
        waiting = [asyncio.create_task(batcher.submit("k", number)) for number in range(9)]
        await asyncio.sleep(0)
        await batcher.stop()
        return [await task for task in waiting]

    results, _ = run(act, double, max_wait=60)
    assert results == [2 * number for number in range(9)]


def test_who_does_not_wait_any_more_is_left_out():
    async def act(batcher):
        gone = asyncio.create_task(batcher.submit("k", 1))
        stays = asyncio.create_task(batcher.submit("k", 2))
        await asyncio.sleep(0)
        gone.cancel()
        assert await stays == 4
        with pytest.raises(asyncio.CancelledError):
            await gone

    assert run(act, double)[1] == [("k", [2])]

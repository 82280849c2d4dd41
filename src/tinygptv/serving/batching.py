"""Questions that come one by one, answered together.

While one batch is at work the next one gathers, so batches grow with the load. A question that finds the worker idle
waits for others for a few milliseconds at most.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from tinygptv.ground.errors import UserError

Key = TypeVar("Key", bound=Hashable)
Content = TypeVar("Content")
Result = TypeVar("Result")

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Item(Generic[Content, Result]):
    entry: Content
    size: int
    arrived: float
    done: asyncio.Future[Result]


class Batcher(Generic[Key, Content, Result]):
    """One worker thread and the queues before it. Entries of one key may share a batch."""

    def __init__(
        self,
        work: Callable[[Key, Sequence[Content]], Sequence[Result]],
        *,
        max_batch: int,
        max_size: int,
        max_wait: float,
    ) -> None:
        """A batcher that is not started.

        Args:
            work: answers the entries of a batch, in their order; runs in the worker thread.
            max_batch: entries of a batch.
            max_size: their count times the largest size.
            max_wait: seconds that an entry waits for others while the worker is idle.
        """
        self._work = work
        self._max_batch = max_batch
        self._max_size = max_size
        self._max_wait = max_wait
        self._queues: dict[Key, deque[_Item[Content, Result]]] = {}
        self._arrived = asyncio.Event()
        self._stopping = False
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._loop_task: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """Entries that no batch has taken yet."""
        return sum(len(queue) for queue in self._queues.values())

    def start(self) -> None:
        """Begin to take batches."""
        self._loop_task = asyncio.create_task(self._serve(), name="batcher")

    async def stop(self) -> None:
        """Finish what waits, then end."""
        self._stopping = True
        self._arrived.set()
        if self._loop_task is not None:
            await self._loop_task
        self._worker.shutdown()

    async def submit(self, key: Key, entry: Content, size: int = 1) -> Result:
        """The result of an entry; raises what ``work`` raised for it."""
        assert not self._stopping, "stopped batchers take nothing"
        loop = asyncio.get_running_loop()
        item: _Item[Content, Result] = _Item(entry, size, loop.time(), loop.create_future())
        self._queues.setdefault(key, deque()).append(item)
        self._arrived.set()
        return await item.done

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            while not self._queues:
                if self._stopping:
                    return
                self._arrived.clear()
                await self._arrived.wait()
            key = min(self._queues, key=lambda known: self._queues[known][0].arrived)
            deadline = self._queues[key][0].arrived + self._max_wait
            while not self._stopping and len(self._queues[key]) < self._max_batch and loop.time() < deadline:
                self._arrived.clear()
                try:
                    await asyncio.wait_for(self._arrived.wait(), deadline - loop.time())
                except TimeoutError:
                    break
            batch = self._take(key)
            if batch:
                await self._run(key, batch)
                del batch  # a model that was replaced must not be held until the next question comes
            del key

    def _take(self, key: Key) -> list[_Item[Content, Result]]:
        """The next batch of a key; whoever does not wait any more is left out."""
        queue, batch, largest = self._queues[key], list[_Item[Content, Result]](), 0
        while queue and len(batch) < self._max_batch:
            size = max(largest, queue[0].size)
            if batch and (len(batch) + 1) * size > self._max_size:
                break
            item = queue.popleft()
            if not item.done.done():
                batch.append(item)
                largest = size
        if not queue:
            del self._queues[key]
        return batch

    async def _run(self, key: Key, batch: Sequence[_Item[Content, Result]]) -> None:
        loop = asyncio.get_running_loop()
        try:
            results = await loop.run_in_executor(self._worker, self._work, key, [item.entry for item in batch])
        except Exception as error:
            if len(batch) == 1:
                log.warning("a question could not be answered: %s", error, exc_info=not isinstance(error, UserError))
                _settle(batch[0], error=error)
                return
            log.warning("a batch of %d failed (%s); its questions are tried one by one", len(batch), error)
            for item in batch:
                await self._run(key, [item])
            return
        for item, result in zip(batch, results, strict=True):
            _settle(item, result=result)


def _settle(item: _Item[Content, Result], *, result: Result | None = None, error: Exception | None = None) -> None:
    if item.done.done():  # the client has gone
        return
    if error is not None:
        item.done.set_exception(error)
    else:
        item.done.set_result(result)  # type: ignore[arg-type]

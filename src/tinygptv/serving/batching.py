"""Questions that come one by one, answered beside each other.

A question waits for nobody: its image is encoded with those that wait then, and its answer begins between two tokens
of those under way. A long answer holds up no short one.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tinygptv.ground.errors import UserError
from tinygptv.serving.models import IMAGES_AT_ONCE, Answer, Loaded, PreparedQuestion

if TYPE_CHECKING:
    from tinygptv.model.decoding.chorus import Speech
    from tinygptv.serving.metrics import Metrics

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Item:
    model: Loaded
    asked: PreparedQuestion
    limit: int
    done: asyncio.Future[Answer]
    features: Any = field(default=None, init=False)
    """Of its image, once that was encoded."""

    @property
    def gone(self) -> bool:
        """Nobody waits for the answer any more."""
        return self.done.done()

    @property
    def slots(self) -> int:
        """Tokens of prompt and answer."""
        return self.asked.prompt_tokens + self.limit

    def tell(self, found: Answer | Exception) -> None:
        """Hand over the answer, or why there is none; from any thread."""
        self.done.get_loop().call_soon_threadsafe(_tell, self.done, found)


def _tell(done: asyncio.Future[Answer], found: Answer | Exception) -> None:
    if done.done():  # the client has gone
        return
    if isinstance(found, Exception):
        done.set_exception(found)
    else:
        done.set_result(found)


class Batcher:
    """The queues before the models, a thread that encodes images and one that says the answers of all models."""

    def __init__(self, metrics: Metrics, *, max_batch: int, max_slots: int) -> None:
        """A batcher that is not started.

        Args:
            metrics: where to note what is done.
            max_batch: answers under way at once.
            max_slots: their count times the longest, prompt included; one is taken in any case.
        """
        self._metrics = metrics
        self._max_batch = max_batch
        self._max_slots = max_slots
        self._arrived: deque[_Item] = deque()
        self._seen: deque[_Item] = deque()
        self._under_way: dict[Loaded, dict[_Item, Speech]] = {}
        self._changed = threading.Condition()
        self._stopping = self._all_seen = False
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="model")
        self._work: list[asyncio.Future[None]] = []

    @property
    def waiting(self) -> int:
        """Questions whose answer has not begun."""
        return len(self._arrived) + len(self._seen)

    def start(self) -> None:
        """Begin to answer."""
        loop = asyncio.get_running_loop()
        self._work = [loop.run_in_executor(self._threads, work) for work in (self._look, self._speak)]

    async def stop(self) -> None:
        """Finish what waits, then end."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        await asyncio.gather(*self._work)
        self._threads.shutdown()

    async def submit(self, model: Loaded, asked: PreparedQuestion, limit: int) -> Answer:
        """A model's answer of at most so many tokens; raises what went wrong with it."""
        assert not self._stopping, "stopped batchers take nothing"
        item = _Item(model, asked, limit, asyncio.get_running_loop().create_future())
        with self._changed:
            self._arrived.append(item)
            self._changed.notify_all()
        return await item.done

    def _look(self) -> None:
        """Encode images until the end."""
        while batch := self._next_images():
            self._encode(batch)
            del batch  # a model that was replaced must not be held until the next question comes
        with self._changed:
            self._all_seen = True
            self._changed.notify_all()

    def _next_images(self) -> list[_Item]:
        """Questions to one model, about so many images as are encoded at once, the oldest in any case; waits for one.

        Empty at the end.
        """
        with self._changed:
            while not self._arrived and not self._stopping:
                self._changed.wait()
            taken, kept, digests = list[_Item](), deque[_Item](), set[str]()
            for item in self._arrived:
                fits = item.asked.digest in digests or len(digests) < IMAGES_AT_ONCE
                if fits and (not taken or taken[0].model is item.model):
                    taken.append(item)
                    digests.add(item.asked.digest)
                else:
                    kept.append(item)
            self._arrived = kept
            return taken

    def _encode(self, batch: Sequence[_Item]) -> None:
        batch = [item for item in batch if not item.gone]
        if not batch:
            return
        try:
            features = batch[0].model.encode([item.asked for item in batch])
        except Exception as error:
            if self._failed(batch, error):
                return
            features = None
        if features is None:
            for item in batch:
                self._encode([item])
            return
        for item, of_image in zip(batch, features, strict=True):
            item.features = of_image
        with self._changed:
            self._seen.extend(batch)
            self._changed.notify_all()

    def _speak(self) -> None:
        """Say answers until the end."""
        while self._wait():
            for model, items in self._next_answers().items():
                self._begin(model, items)
                del model, items
            for model in list(self._under_way):
                self._step(model)
                del model

    def _wait(self) -> bool:
        """Wait for something to say; whether there is any."""
        with self._changed:
            while not self._under_way and not self._seen and not self._all_seen:
                self._changed.wait()
            return bool(self._under_way or self._seen)

    def _next_answers(self) -> dict[Loaded, list[_Item]]:
        """The questions for which there is room now, in the order in which they came."""
        with self._changed:
            found: dict[Loaded, list[_Item]] = {}
            while self._seen and (self._seen[0].gone or self._fits(self._seen[0], found)):
                item = self._seen.popleft()
                if not item.gone:
                    found.setdefault(item.model, []).append(item)
            return found

    def _fits(self, item: _Item, found: Mapping[Loaded, Sequence[_Item]]) -> bool:
        """Whether an answer may begin beside those under way and those that are about to."""
        rows, slots = 0, 0
        for model in {*self._under_way, *found, item.model}:
            of_model = [*self._under_way.get(model, ()), *found.get(model, ()), *[item] * (model is item.model)]
            rows += len(of_model)
            slots += len(of_model) * max(other.slots for other in of_model)
        return rows == 1 or (rows <= self._max_batch and slots <= self._max_slots)

    def _begin(self, model: Loaded, items: Sequence[_Item]) -> None:
        """Begin answers beside those under way."""
        try:
            speeches = model.begin([(item.asked, item.features, item.limit) for item in items])
        except Exception as error:
            if self._failed(items, error):
                return
            speeches = None
        if speeches is None:
            for item in items:
                self._begin(model, [item])
            return
        self._metrics.batch.observe(len(items))
        self._under_way.setdefault(model, {}).update(zip(items, speeches, strict=True))
        self._settle(model)

    def _step(self, model: Loaded) -> None:
        """Say a token of each answer of a model."""
        under_way = self._under_way[model]
        for item, speech in under_way.items():
            speech.left = item.gone
        self._metrics.step.observe(len(under_way))
        try:
            with self._metrics.step_seconds.time():
                model.step()
        except Exception as error:
            del self._under_way[model]
            model.clear()
            if self._failed(list(under_way), error):
                return
        if model in self._under_way:
            self._settle(model)
            return
        for item in under_way:
            self._begin(model, [item])
            while model in self._under_way:
                self._step(model)

    def _settle(self, model: Loaded) -> None:
        """Hand over what is said to its end."""
        under_way = self._under_way[model]
        for item, speech in list(under_way.items()):
            if not speech.over:
                continue
            del under_way[item]
            try:
                item.tell(model.answer(item.asked, speech))
            except Exception as error:
                self._failed([item], error)
        if not under_way:
            del self._under_way[model]

    @staticmethod
    def _failed(items: Sequence[_Item], error: Exception) -> bool:
        """Whether it is known whose fault it was; else they are to be tried one by one."""
        if len(items) > 1:
            log.warning("%d questions failed together (%s); they are tried one by one", len(items), error)
            return False
        log.warning("a question could not be answered: %s", error, exc_info=not isinstance(error, UserError))
        items[0].tell(error)
        return True

"""A question's way: checked, made small, answered beside others."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress

from tinygptv.data.prompts import check_room
from tinygptv.ground.errors import DataError, NotFiniteError
from tinygptv.serving.batching import Batcher
from tinygptv.serving.limits import ServiceLimits
from tinygptv.serving.metrics import Metrics
from tinygptv.serving.models import Answer, Growing, Loaded, Models, PreparedQuestion
from tinygptv.serving.pictures import read_picture
from tinygptv.serving.requests import AnswerRequest, RequestError, check_text, parse

PICTURE_THREADS = 2
"""Images that are decoded at once: what bounds the memory that their pixels take."""

log = logging.getLogger(__name__)


class Engine:
    """Models, the batcher before them and the watch over the registry."""

    def __init__(self, models: Models, limits: ServiceLimits) -> None:
        self.models = models
        self.limits = limits
        self.metrics = Metrics()
        self.metrics.serving(models.versions())
        self._pictures = ThreadPoolExecutor(PICTURE_THREADS, thread_name_prefix="pictures")
        self._batcher: Batcher | None = None
        self.metrics.waiting.set_function(lambda: self._batcher.waiting if self._batcher is not None else 0)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Take questions within the block; at its end, finish those that wait."""
        limits = self.limits
        self._batcher = Batcher(self.metrics, max_batch=limits.max_batch, max_slots=limits.max_batch_tokens)
        self._batcher.start()
        watch = asyncio.create_task(self._follow(), name="registry")
        try:
            yield
        finally:
            watch.cancel()
            with suppress(asyncio.CancelledError):
                await watch
            await self._batcher.stop()
            self._pictures.shutdown()

    async def read(self, body: bytes) -> AnswerRequest:
        """Check a body of ``/v1/chat/completions``.

        Raises:
            RequestError: the request is refused.
        """
        return await asyncio.get_running_loop().run_in_executor(self._pictures, parse, body, self.limits)

    async def grow(self, request: AnswerRequest) -> AsyncGenerator[Growing | Answer]:
        """Answer a checked request, and tell the beginning of the answer whenever it has grown; at last the answer.

        Raises:
            RequestError: as ``answer`` does, mostly before anything is told.
        """
        told: asyncio.Queue[Growing | None] = asyncio.Queue()
        loop, longest = asyncio.get_running_loop(), 0

        def on_text(beginning: Growing) -> None:
            loop.call_soon_threadsafe(told.put_nowait, beginning)

        asking = asyncio.create_task(self.answer(request, on_text))
        asking.add_done_callback(lambda _: told.put_nowait(None))
        try:
            while (beginning := await told.get()) is not None:
                if len(beginning.text) > longest:  # what fails together is begun once more
                    longest = len(beginning.text)
                    yield beginning
            yield await asking
        finally:
            asking.cancel()

    async def answer(self, request: AnswerRequest, on_text: Callable[[Growing], None] | None = None) -> Answer:
        """Answer a checked request.

        Args:
            request: the request.
            on_text: is told the beginning of the answer whenever it grows, in another thread.

        Raises:
            RequestError: the request is refused, or the model has no answer.
        """
        assert self._batcher is not None, "the engine does not run"
        started = time.monotonic()
        loaded = self.models.get(request.source)
        loop = asyncio.get_running_loop()
        prepared = await loop.run_in_executor(self._pictures, self._prepare, loaded, request, on_text)
        limit = min(request.max_tokens or loaded.max_new_tokens, loaded.max_new_tokens)
        try:
            answer = await self._batcher.submit(loaded, prepared, limit)
        except NotFiniteError as error:
            raise RequestError(500, str(error), code="not_finite") from None
        self.metrics.seconds.observe(time.monotonic() - started)
        return answer

    def _prepare(
        self, loaded: Loaded, request: AnswerRequest, on_text: Callable[[Growing], None] | None
    ) -> PreparedQuestion:
        """Check text and image; for a thread of the pictures."""
        check_text(request.text, self.limits)
        prompt, tokens = loaded.prompt(request.text)
        try:
            check_room(tokens, loaded.max_new_tokens, loaded.positions)
        except DataError as error:
            raise RequestError(400, str(error), code="context_length_exceeded", param="messages") from None
        picture = read_picture(request.image, loaded.size, loaded.resample, self.limits)
        return PreparedQuestion(picture, hashlib.sha256(request.image).hexdigest(), prompt, tokens, on_text)

    async def _follow(self) -> None:
        """Ask the registry from time to time; what fails is tried again, and said once."""
        loop = asyncio.get_running_loop()
        told = ""
        while True:
            await asyncio.sleep(self.limits.poll_seconds)
            bug = None
            try:
                swapped, problem = await loop.run_in_executor(None, self.models.refresh)
                self.metrics.swaps.inc(swapped)
            except Exception as error:  # whatever it is, the served models stay
                problem, bug = str(error), error
            if problem:
                self.metrics.failures.inc()
                if problem != told:
                    log.warning("still serving the former models: %s", problem, exc_info=bug)
            told = problem
            self.metrics.serving(self.models.versions())

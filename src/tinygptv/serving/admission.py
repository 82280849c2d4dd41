"""Who comes in: a count and a sum of bytes, known before anything is read; and of web pages only our own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from fastapi import Request
from fastapi.responses import JSONResponse
from starlette.datastructures import Headers

from tinygptv.serving.limits import ServiceLimits
from tinygptv.serving.metrics import Metrics
from tinygptv.serving.requests import RequestError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Admission:
    """Bounds what requests hold together, from before their bodies are read until they are answered."""

    def __init__(self, limits: ServiceLimits, metrics: Metrics) -> None:
        self._limits = limits
        self._metrics = metrics
        self._requests = 0
        self._bytes = 0

    @asynccontextmanager
    async def body(self, request: Request) -> AsyncIterator[bytes]:
        """A request's body, for a block that answers it.

        Raises:
            RequestError: it is of another type or size, too slow, or there are too many already.
        """
        size = _announced(request, self._limits.max_body)
        if self._requests >= self._limits.max_requests or self._bytes + size > self._limits.max_bytes:
            raise RequestError(429, "too many requests at once; try again", code="queue_full", retry=True)
        self._requests += 1
        self._bytes += size
        self._metrics.at_once.set(self._requests)
        try:
            yield await _read(request, size, self._limits.body_seconds)
        finally:
            self._requests -= 1
            self._bytes -= size
            self._metrics.at_once.set(self._requests)


def _announced(request: Request, limit: int) -> int:
    """The most bytes that the body may have: what its head says, or the limit where it comes in chunks."""
    # A page of another site can send text without asking; JSON needs a permission that is never given.
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise RequestError(415, "send JSON, with `Content-Type: application/json`")
    if "chunked" in request.headers.get("transfer-encoding", "").lower():
        return limit
    length = request.headers.get("content-length", "")
    if not (length.isascii() and length.isdecimal()):
        raise RequestError(411, "send `Content-Length`, or the body in chunks")
    if len(length) > 12 or int(length) > limit:
        raise RequestError(413, f"the request has {length[:20]} bytes; the limit is {limit}")
    return int(length)


async def _read(request: Request, size: int, seconds: float) -> bytes:
    """The whole body."""
    content = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for part in request.stream():
                content += part
                if len(content) > size:
                    raise RequestError(413, f"the request has more than the {size} bytes that it may have")
    except TimeoutError:
        raise RequestError(408, f"the request did not arrive within {seconds:.0f} s") from None
    return bytes(content)


class OwnPages:
    """Refuses what a page of another site sends: its browser names it in ``Origin``, or names another ``Host``."""

    def __init__(self, app: ASGIApp, names: Collection[str]) -> None:
        self._app = app
        self._names = frozenset(names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] in ("http", "websocket"):
            refusal = self._refusal(Headers(scope=scope))
            if refusal is not None:
                await JSONResponse(refusal.content(), refusal.status)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _refusal(self, headers: Headers) -> RequestError | None:
        host, origin = headers.get("host", ""), headers.get("origin")
        if host.partition(":")[0].lower() not in self._names:
            return RequestError(400, f"`Host` is {host[:100]!r}; this service is {' or '.join(sorted(self._names))}")
        if origin is not None and not self._own(origin, host):
            return RequestError(403, "requests of other sites' pages are refused")
        return None

    def _own(self, origin: str, host: str) -> bool:
        """The page came from here: same name and same port."""
        try:
            parts = urlsplit(origin)
        except ValueError:
            return False
        return parts.scheme in ("http", "https") and parts.hostname in self._names and parts.netloc == host


class Watched:
    """Counts answers by path and status."""

    def __init__(self, app: ASGIApp, metrics: Metrics, paths: Collection[str]) -> None:
        self._app = app
        self._metrics = metrics
        self._paths = frozenset(paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and note the answer's status."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"] if scope["path"] in self._paths else "other"

        async def count(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._metrics.requests.labels(path, str(message["status"])).inc()
            await send(message)

        try:
            await self._app(scope, receive, count)
        except Exception:  # answered further out, with a 500
            self._metrics.requests.labels(path, "500").inc()
            raise

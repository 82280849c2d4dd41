"""The HTTP service: OpenAI's chat completions for one question about one image, models, health and metrics."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from tinygptv.ground.servers import HOST_NAMES
from tinygptv.serving.admission import Admission, OwnPages, Watched
from tinygptv.serving.metrics import CONTENT_TYPE
from tinygptv.serving.replies import FAULT, Streamed, completion, events
from tinygptv.serving.requests import RequestError, error_content

if TYPE_CHECKING:
    from tinygptv.serving.engine import Engine

COMPLETIONS, MODELS, HEALTH, METRICS = "/v1/chat/completions", "/v1/models", "/health", "/metrics"
CLIENT_GONE = 499
"""Nobody reads it; it keeps the logs and figures honest."""

Awaited = TypeVar("Awaited")

log = logging.getLogger(__name__)


def create_app(engine: Engine) -> FastAPI:
    """The service around an engine, which runs as long as the service does."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with engine.running():
            yield

    app = FastAPI(title="TinyGPT-V", lifespan=lifespan, openapi_url=None, docs_url=None, redoc_url=None)
    admission = Admission(engine.limits, engine.metrics)
    started = int(time.time())

    def described(source: str) -> dict[str, Any]:
        version = engine.models.get(source).version
        return {"id": source, "object": "model", "created": started, "owned_by": "tinygptv", "version": version}

    @app.post(COMPLETIONS)
    async def complete(request: Request) -> Response:
        async with AsyncExitStack() as stack:
            asked = await engine.read(await stack.enter_async_context(admission.body(request)))
            if not asked.stream:
                return JSONResponse(completion(await _while_connected(request, engine.answer(asked))))
            growing = await stack.enter_async_context(aclosing(engine.grow(asked)))
            first = await _while_connected(request, _next(growing))  # a refusal comes before anything is sent
            return Streamed(events(first, growing, usage=asked.usage), stack.pop_all())

    @app.get(MODELS)
    async def models() -> JSONResponse:
        return JSONResponse({"object": "list", "data": [described(source) for source in engine.models.versions()]})

    @app.get(MODELS + "/{name:path}")
    async def model(name: str) -> JSONResponse:
        return JSONResponse(described(name))

    @app.get(HEALTH)
    async def health() -> JSONResponse:
        return JSONResponse({"status": "ok", "models": engine.models.versions()})

    @app.get(METRICS)
    async def metrics() -> Response:
        return Response(engine.metrics.text(), media_type=CONTENT_TYPE)

    @app.exception_handler(RequestError)
    async def refused(request: Request, error: RequestError) -> JSONResponse:
        return JSONResponse(error.content(), error.status, headers=error.headers)

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> JSONResponse:
        content = error_content(error.status_code, f"{request.method} {request.url.path[:200]}: {error.detail}")
        return JSONResponse(content, error.status_code, headers=error.headers)

    @app.exception_handler(ClientDisconnect)
    async def gone(request: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=CLIENT_GONE)

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse(error_content(500, FAULT), 500)

    # The last one is the outermost.
    app.add_middleware(OwnPages, names=HOST_NAMES)
    app.add_middleware(Watched, metrics=engine.metrics, paths=(COMPLETIONS, MODELS, HEALTH, METRICS))
    return app


async def _next(growing: AsyncGenerator[Awaited]) -> Awaited:
    return await anext(growing)


async def _while_connected(request: Request, work: Coroutine[Any, Any, Awaited]) -> Awaited:
    """The result of some work, which is given up when the client hangs up.

    Raises:
        ClientDisconnect: it did.
    """
    asking = asyncio.create_task(work)
    leaving = asyncio.ensure_future(request.receive())  # the body is read: only a farewell can follow
    try:
        await asyncio.wait((asking, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not asking.done():
            raise ClientDisconnect
        return asking.result()
    finally:
        asking.cancel()
        leaving.cancel()

"""The service on a real port: what HTTP itself refuses has the form of all other refusals."""

from __future__ import annotations

import asyncio
import json

import pytest
import uvicorn

from tinygptv.ground.servers import HOST
from tinygptv.serving import server
from tinygptv.serving.app import COMPLETIONS, create_app
from tinygptv.serving.engine import Engine
from tinygptv.serving.limits import ServiceLimits

POST = f"POST {COMPLETIONS} HTTP/1.1\r\n"
UNREADABLE = {
    "no HTTP": "\x16\x03\x01\r\n\r\n",
    "a length that is no number": f"{POST}Host: 127.0.0.1\r\nContent-Length: many\r\n\r\n",
    "two lengths": f"{POST}Host: 127.0.0.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "no host": f"{POST}Content-Length: 0\r\n\r\n",
    "two hosts": f"{POST}Host: 127.0.0.1\r\nHost: evil.test\r\nContent-Length: 0\r\n\r\n",
    "a head without end": f"{POST}Host: 127.0.0.1\r\nX: {'x' * 100_000}",
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_is_no_request_is_refused_in_the_form_of_all_others(models, name):
    async def run() -> bytes:
        listener = server.bind(0)
        service = uvicorn.Server(server.configuration(create_app(Engine(models, ServiceLimits())), stop_seconds=5))
        listener.listen()
        running = asyncio.create_task(service.serve(sockets=[listener]))
        try:
            reader, writer = await asyncio.open_connection(HOST, listener.getsockname()[1])
            writer.write(UNREADABLE[name].encode("latin-1"))
            answer = await reader.read()
            writer.close()
        finally:
            service.should_exit = True
            await running
        return answer

    head, _, content = asyncio.run(run()).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400")
    error = json.loads(content)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"

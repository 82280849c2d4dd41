"""The service on a real port: what HTTP itself refuses has the form of all other refusals."""

from __future__ import annotations

import asyncio
import json

import pytest
import uvicorn

from tests.serving.helpers import pictures, question
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


def test_who_is_told_to_stop_says_what_was_begun_and_answers_who_waits(models, one):
    """As SIGTERM has it, which uvicorn turns into this flag: streams come to their end, also those not begun."""

    async def run() -> tuple[str, list[bytes]]:
        engine = Engine(models, ServiceLimits(max_batch=1))
        listener = server.bind(0)
        service = uvicorn.Server(server.configuration(create_app(engine), stop_seconds=20))
        listener.listen()
        running = asyncio.create_task(service.serve(sockets=[listener]))
        body = json.dumps(question(one, pictures(1)[0], "why", stream=True))
        head = f"{POST}Host: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        clients = [await asyncio.open_connection(HOST, listener.getsockname()[1]) for _ in range(6)]
        for _, writer in clients:
            writer.write((head + body).encode())
        while b"tinygptv_requests_at_once 6.0" not in engine.metrics.text():
            await asyncio.sleep(0.001)
        service.should_exit = True
        answers = [await reader.read() for reader, _ in clients]
        await running
        return engine.metrics.text().decode(), answers

    figures, answers = asyncio.run(run())
    assert all(b"data: [DONE]" in answer for answer in answers)
    assert "tinygptv_answer_seconds_count 6.0" in figures and "tinygptv_waiting 0.0" in figures

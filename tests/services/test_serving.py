"""``tinygptv serve`` and ``web`` as a person uses them: real processes, a real registry, real clients."""

from __future__ import annotations

import asyncio
import base64
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.drills.prefect_server import free_port
from tests.services.served import NAME, Service, Store, make_store, service
from tests.serving.helpers import COMPLETIONS, QUESTIONS, data_url, pictures, question, said
from tinygptv.serving.limits import ServiceLimits
from tinygptv.tracking import promoted

pytestmark = pytest.mark.services

CHAMPION, CHALLENGER = f"models:/{NAME}@champion", f"models:/{NAME}@challenger"
IMAGES = pictures(20)
FOREIGN = {
    "/etc/passwd": "not uploaded by a user",
    "http://127.0.0.1:9/x.png": "addresses are not fetched",
    "http://example.com/x.png": "addresses are not fetched",
}
"""What a client may name instead of a picture, and what the page says to it."""
MIB = 1024**2


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, make_model: Any, processor: Any) -> Store:
    """Read only, but for the alias champion."""
    return make_store(tmp_path_factory.mktemp("store"), make_model, processor)


@pytest.fixture
def served(store: Store) -> Iterator[Service]:
    """The champion, which is version 1."""
    store.promote("1")
    with service(store.root, "serve", ["--poll", "0.2"]) as running:
        yield running


def pair(number: int) -> tuple[bytes, str]:
    return IMAGES[number % len(IMAGES)], QUESTIONS[number // len(IMAGES) % len(QUESTIONS)]


def malformed(number: int) -> Any:
    image, text = pair(number)
    kinds = (
        {"model": CHAMPION},
        question(CHAMPION, "http://127.0.0.1/x.png", text),
        question(CHAMPION, image[:40], text),
        question(CHAMPION, image, text, stream=1),
        question("another", image, text),
    )
    return kinds[number // 20 % len(kinds)]


async def post(url: str, bodies: list[Any]) -> list[httpx.Response]:
    """All at once, each on a connection of its own."""
    limits = httpx.Limits(max_connections=len(bodies), max_keepalive_connections=0)
    async with httpx.AsyncClient(base_url=url, limits=limits, timeout=120, trust_env=False) as client:
        return await asyncio.gather(*(client.post(COMPLETIONS, json=body) for body in bodies))


def memory(running: Service) -> float:
    return psutil.Process(running.process.pid).memory_info().rss / MIB


def test_500_at_once_with_malformed_ones_among_them(store, served):
    bodies = [malformed(n) if n % 20 == 7 else question(CHAMPION, *pair(n)) for n in range(500)]
    wrong = [n for n in range(500) if n % 20 == 7]
    assert len(wrong) == 25
    pairs = [pair(n) for n in range(500)]
    expected = store.offline[f"models:/{NAME}/1"].answer([i for i, _ in pairs], [t for _, t in pairs])
    assert len(set(expected)) > 7, "the answers must differ for this test to mean something"
    sizes = []
    for _ in range(4):
        responses = asyncio.run(post(served.url, bodies))
        for n, response in enumerate(responses):
            if n in wrong:
                assert 400 <= response.status_code < 500, response.text
            else:
                assert said(response) == expected[n]
        sizes.append(memory(served))
    assert sizes[-1] - sizes[0] < 100, f"MiB after each round: {sizes}"
    assert served.stop() == 0


def test_the_openai_client(store, served):
    import openai

    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0) as client:
        model = client.models.list().data[0].id
        assert model == CHAMPION
        image, text = pair(3)
        messages = question(model, image, text)["messages"]
        done = client.chat.completions.create(model=model, messages=messages, max_tokens=100, temperature=0)
        assert done.choices[0].message.content == store.offline[done.model].answer([image], [text])[0]
        assert done.usage.total_tokens == done.usage.prompt_tokens + done.usage.completion_tokens
        pieces = list(client.chat.completions.create(model=model, messages=messages, stream=True))
        assert "".join(piece.choices[0].delta.content or "" for piece in pieces) == done.choices[0].message.content
        with pytest.raises(openai.NotFoundError, match="not served"):
            client.chat.completions.create(model="gpt-4", messages=messages)


def test_a_new_champion_under_load_loses_no_request(store, served):
    expected = {
        version: [model.answer([image], ["why"])[0] for image in IMAGES] for version, model in store.offline.items()
    }
    assert len(expected) == 2
    assert expected[f"models:/{NAME}/1"] != expected[f"models:/{NAME}/2"]
    seen: list[str] = []
    until = time.monotonic() + 60

    async def ask(client: httpx.AsyncClient, number: int, switches: list[float]) -> None:
        while len(switches) < 6 and time.monotonic() < until:
            place = number % len(IMAGES)
            response = await client.post(COMPLETIONS, json=question(CHAMPION, IMAGES[place], "why"))
            text, version = said(response), response.json()["model"]
            assert text == expected[version][place]
            if seen and seen[-1] != version:
                switches.append(time.monotonic())
                other = "2" if version.endswith("1") else "1"
                await asyncio.to_thread(store.promote, other)
            seen.append(version)

    async def run() -> list[float]:
        switches: list[float] = []
        async with httpx.AsyncClient(base_url=served.url, timeout=60, trust_env=False) as client:
            tasks = [asyncio.create_task(ask(client, number, switches)) for number in range(16)]
            await asyncio.sleep(0.5)
            await asyncio.to_thread(store.promote, "2")
            await asyncio.gather(*tasks)
        return switches

    before = memory(served)
    switches = asyncio.run(run())
    assert len(switches) >= 6, f"{len(seen)} answers"
    assert memory(served) - before < 200
    figures = httpx.get(f"{served.url}/metrics", trust_env=False).text
    assert "tinygptv_refresh_failures_total 0.0" in figures


def test_a_champion_that_nobody_promoted_is_not_followed(store, served):
    store.promote("1")
    known = promoted.read(store.tracking.uri, NAME)  # what other tests have promoted meanwhile is forgotten
    promoted.write(store.tracking.uri, NAME, {"1": known["1"]})
    refused = re.compile(r"^tinygptv_refresh_failures_total (\d+)", re.MULTILINE)
    with httpx.Client(base_url=served.url, timeout=60, trust_env=False) as client:

        def failures() -> int:
            return int(refused.search(client.get("/metrics").text)[1])

        while client.get("/health").json()["models"][CHAMPION] != f"models:/{NAME}/1":
            time.sleep(0.1)
        before = failures()
        store.move_alias("2")
        try:
            while failures() < before + 2:
                time.sleep(0.1)
            assert said(client.post(COMPLETIONS, json=question(CHAMPION, *pair(0))))
            assert client.get("/health").json()["models"] == {CHAMPION: f"models:/{NAME}/1"}
            log = (store.root / "serve.log").read_text()
            assert "is champion, but `tinygptv promote` or `rollback` did not make it so" in log
            assert "Traceback" not in log
        finally:
            store.move_alias("1")
        store.promote("2")
        while client.get("/health").json()["models"][CHAMPION] != f"models:/{NAME}/2":
            time.sleep(0.1)
    store.promote("1")


def test_a_stop_under_load_answers_what_came_before(store, served):
    bodies = [question(CHAMPION, *pair(n)) for n in range(200)]

    async def run() -> list[Any]:
        limits = httpx.Limits(max_connections=200)
        async with httpx.AsyncClient(base_url=served.url, limits=limits, timeout=60, trust_env=False) as client:
            tasks = [asyncio.create_task(client.post(COMPLETIONS, json=body)) for body in bodies]
            while "tinygptv_requests_at_once 200.0" not in (await client.get("/metrics")).text:
                assert not all(task.done() for task in tasks), "answered too soon for this test to mean something"
                if any(task.done() for task in tasks):
                    break
            served.process.terminate()
            return await asyncio.gather(*tasks, return_exceptions=True)

    responses = asyncio.run(run())
    answered = [response for response in responses if isinstance(response, httpx.Response)]
    assert {response.status_code for response in answered} == {200}
    # Whose connection was not taken yet when the door closed sees a closed door, never half an answer.
    assert all(isinstance(r, httpx.ConnectError) for r in responses if not isinstance(r, httpx.Response)), responses
    assert len(answered) > 100
    assert served.process.wait(60) == 0
    assert (store.root / "serve.log").read_text().count("Traceback") == 0


def test_foreign_names_and_large_bodies_are_refused(served):
    with httpx.Client(base_url=served.url, trust_env=False) as client:
        assert client.get("/health", headers={"Host": "evil.test"}).status_code == 400
        assert client.get("/health", headers={"Origin": "http://evil.test"}).status_code == 403
        assert client.get("/health").json()["models"] == {CHAMPION: f"models:/{NAME}/1"}
        big = question(CHAMPION, data_url(b"x" * (ServiceLimits().max_image_bytes + MIB)), "why")
        assert client.post(COMPLETIONS, json=big).status_code == 413
        said(client.post(COMPLETIONS, json=question(CHAMPION, *pair(0))))


def test_mlflow_serves_the_same_answers(store):
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", f"models:/{NAME}/1", "--env-manager", "local"]
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",  # it calls uvicorn by name
        "MLFLOW_TRACKING_URI": store.tracking.uri,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    }
    pairs = [pair(n) for n in range(0, 100, 9)]
    rows: list[list[str | None]] = [[base64.b64encode(image).decode(), text] for image, text in pairs]
    rows[5:5] = [[None, "why"], [rows[0][0], None], [rows[0][0], " "], ["QUJD", "why"], ["/etc/x.png", "why"]]
    wrong = ["image: the image is missing", "question: the question is missing", "question: the question is empty"]
    wrong += ["image: the image cannot be decoded", "image: the image is text but no valid base 64"]
    with (store.root / "mlflow.log").open("w") as log:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as client:
            deadline = time.monotonic() + 120
            while True:
                assert process.poll() is None and time.monotonic() < deadline, (store.root / "mlflow.log").read_text()
                try:
                    client.get("/health").raise_for_status()
                    break
                except httpx.HTTPError:
                    time.sleep(0.2)
            body = {"dataframe_split": {"columns": ["image", "question"], "data": rows}}
            found = client.post("/invocations", json=body).raise_for_status().json()["predictions"]
            body["dataframe_split"]["columns"][1] = "qestion"
            refused = client.post("/invocations", json=body)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for row, reason in zip(found[5:10], wrong, strict=True):
        assert row["answer"] is None and row["error"].startswith(reason)
    answers = store.offline[f"models:/{NAME}/1"].answer([i for i, _ in pairs], [t for _, t in pairs])
    assert found[:5] + found[10:] == [{"answer": answer, "error": None} for answer in answers]
    assert refused.status_code == 400 and "missing inputs ['question']" in refused.json()["message"]


def test_the_page(store, tmp_path):
    from gradio_client import Client, handle_file

    store.promote("1")
    picture = tmp_path / "picture.png"
    picture.write_bytes(IMAGES[0])
    with service(store.root, "web") as running, httpx.Client(base_url=running.url, trust_env=False) as http:
        page = http.get("/")
        assert page.status_code == 200
        assert "TinyGPT-V" in page.text
        for elsewhere in ("fonts.googleapis.com", "cdn.jsdelivr.net", "huggingface.co/front"):
            assert elsewhere not in page.text
        assert http.get("/", headers={"Host": "evil.test"}).status_code == 400
        client = Client(running.url, verbose=False, analytics_enabled=False, download_files=str(tmp_path))
        for source, version in ((CHAMPION, "1"), (CHALLENGER, "2")):
            answer, drawn, told = client.predict(handle_file(str(picture)), "why", source, api_name="/ask")
            address = f"models:/{NAME}/{version}"
            assert answer == store.offline[address].answer([IMAGES[0]], ["why"])[0]
            assert told.startswith(address)
            assert drawn
        with pytest.raises(Exception, match="empty"):
            client.predict(handle_file(str(picture)), " ", CHAMPION, api_name="/ask")
        for name, reason in FOREIGN.items():
            file = {"path": name, "meta": {"_type": "gradio.FileData"}}
            for values in ([file, "why", CHAMPION], [None, file, CHAMPION]):
                event = http.post("/gradio_api/call/ask", json={"data": values}).json()["event_id"]
                assert reason in http.get(f"/gradio_api/call/ask/{event}").text
        for path in ("gradio_api/file=/etc/passwd", "gradio_api/file=/%2e%2e/etc/passwd", "static/%2e%2e/%2e%2e/x"):
            assert http.get(f"/{path}").status_code in (403, 404)
        said(http.post(COMPLETIONS, json=question(CHAMPION, *pair(0)), timeout=30))
        assert running.stop() == 0

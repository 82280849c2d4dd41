"""``tinygptv serve`` and ``web`` of versions whose gate did not pass: real processes, a real registry."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.services.served import NAME, Store, make_store, service
from tests.serving.helpers import COMPLETIONS, QUESTIONS, pictures, question, said
from tinygptv.tracking.registry import CHALLENGER, PASSED_TAG, REASONS_TAG

pytestmark = pytest.mark.services

SOURCE = f"models:/{NAME}@{CHALLENGER}"
WHY = "easy_vqa: 0.1000 is below 0.9900"
FAILURES = re.compile(r"^tinygptv_refresh_failures_total (\d+)", re.MULTILINE)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, make_model: Any, processor: Any) -> Store:
    return make_store(tmp_path_factory.mktemp("gated"), make_model, processor)


@pytest.fixture
def store(made: Store) -> Iterator[Store]:
    """Version 1, the champion, has passed the gate; version 2, the challenger, was refused."""
    decide(made, "false")
    yield made
    made.tracking.mlflow.set_registered_model_alias(NAME, CHALLENGER, "2")


def decide(store: Store, passed: str) -> None:
    store.tracking.mlflow.set_model_version_tag(NAME, "2", PASSED_TAG, passed)
    store.tracking.mlflow.set_model_version_tag(NAME, "2", REASONS_TAG, WHY if passed == "false" else "none")


def models(url: str) -> dict[str, str]:
    return dict(httpx.get(f"{url}/health", trust_env=False).json()["models"])


def until(true: Any) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_an_alias_of_a_refused_version_is_one_line(store):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    command = [sys.executable, "-m", "tinygptv.cli", "serve", SOURCE, "--port", "0"]
    done = subprocess.run(command, cwd=store.root, env=environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"tinygptv: {SOURCE} names models:/{NAME}/2, whose gate did not pass ({WHY}); serve it by its number, or add "
        "--ungated\n"
    )


@pytest.mark.parametrize("arguments", [[SOURCE, "--ungated"], [f"models:/{NAME}/2"]], ids=["told", "number"])
def test_who_asks_for_it_gets_it(store, arguments):
    with service(store.root, "serve", arguments) as running:
        assert models(running.url) == {arguments[0]: f"models:/{NAME}/2"}


def test_a_service_keeps_its_model_until_the_gate_has_passed(store):
    store.tracking.mlflow.set_registered_model_alias(NAME, CHALLENGER, "1")
    image, text = pictures(1)[0], QUESTIONS[0]
    with service(store.root, "serve", [SOURCE, "--poll", "0.2"]) as running:
        assert models(running.url) == {SOURCE: f"models:/{NAME}/1"}
        store.tracking.mlflow.set_registered_model_alias(NAME, CHALLENGER, "2")
        with httpx.Client(base_url=running.url, timeout=60, trust_env=False) as client:
            until(lambda: int(FAILURES.search(client.get("/metrics").text)[1]) >= 2)
            answer = client.post(COMPLETIONS, json=question(SOURCE, image, text))
        assert said(answer) == store.offline[f"models:/{NAME}/1"].answer([image], [text])[0]
        assert models(running.url) == {SOURCE: f"models:/{NAME}/1"}
        log = (store.root / "serve.log").read_text()
        assert log.count(f"still serving the former models: {SOURCE} names models:/{NAME}/2") == 1
        assert WHY in log and "Traceback" not in log
        decide(store, "true")
        until(lambda: models(running.url) == {SOURCE: f"models:/{NAME}/2"})


def test_the_page_leaves_a_refused_challenger_out_and_says_so(store):
    pytest.importorskip("gradio")
    with service(store.root, "web") as running:
        assert models(running.url) == {f"models:/{NAME}@champion": f"models:/{NAME}/1"}
    assert f"{SOURCE} is not served: {SOURCE} names models:/{NAME}/2" in (store.root / "web.log").read_text()

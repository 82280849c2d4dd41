"""The steps that the flow tries again, under faults that pass and under some that stay: exit code 75 or 2, one line."""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import struct
import threading

import pytest

from tests.drills.faulty_proxy import FaultyProxy
from tests.hub import hub as hub
from tests.steps.test_backbones import PUBLISHED, configure
from tests.steps.test_backbones import published as published
from tests.steps.test_backbones import weights as weights
from tinygptv.model.upstream import fetch

FAULTS = ("refused", "500", "429", "502", "no name", "reset", "cut", "slow")
REFUSALS = ("401", "403", "404")
PASSING = 75


class Server:
    """Answers every request with the same bytes and ends the connection, in order or with a reset."""

    def __init__(self, answer: bytes, *, reset: bool = False, silent: bool = False) -> None:
        self._answer, self._reset, self._silent = answer, reset, silent
        self._patience = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer_one, args=(connection,), daemon=True).start()

    def _answer_one(self, connection: socket.socket) -> None:
        with connection:
            connection.recv(65536)
            if self._silent:
                self._patience.wait(120)
            connection.sendall(self._answer)
            if self._reset:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def close(self) -> None:
        self._patience.set()
        self._listener.close()


def answer(status: int, body: bytes = b"<html>no</html>", length: int | None = None) -> bytes:
    return b"HTTP/1.1 %d X\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (status, length or len(body), body)


@pytest.fixture
def store(monkeypatch):
    """Let ``MLFLOW_TRACKING_URI`` name a server with a fault."""
    held = []

    def choose(fault: str) -> None:
        if fault in ("500", "429"):
            held.append(FaultyProxy(9))
            held[-1].mode = fault
        elif fault in ("502", *REFUSALS):
            held.append(Server(answer(int(fault))))
        elif fault in ("reset", "cut", "slow"):
            part = answer(200, b'{"experiment": ', 5000)
            held.append(Server(b"" if fault == "slow" else part, reset=fault == "reset", silent=fault == "slow"))
        address = {"refused": "http://127.0.0.1:9", "no name": "http://mlflow.invalid:5000"}
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address[fault] if fault in address else held[-1].url)

    yield choose
    for server in held:
        server.close()


@pytest.fixture
def with_package(shards_checkout):
    """A checkout with what ``register`` reads."""
    (shards_checkout.root / "src" / "tinygptv").mkdir(parents=True)  # goes with the package
    model = shards_checkout.data / "quantize" / "model"
    model.mkdir(parents=True)
    (model / "model.safetensors").write_text("weights")
    reports = shards_checkout.root / "reports" / "smoke"
    reports.mkdir(parents=True, exist_ok=True)
    benchmark = {"metric": "accuracy", "value": 0.5, "n": 10, "ci95": [0.4, 0.6], "majority": 0.3, "blind": None}
    report = {"benchmarks": {"easy_vqa": benchmark}, "agreement": {"value": 1.0, "n": 10}}
    for name in ("quantize", "evaluate"):
        (reports / f"{name}.json").write_text(json.dumps(report))
    return shards_checkout


@pytest.fixture
def ends(run, capfd):
    """A step ends with a code and one line, and leaves the results as they were."""

    def check(checkout, step, code, *words):
        before = checkout.outputs()
        capfd.readouterr()
        found = run(checkout, step)
        error = capfd.readouterr().err
        assert found == code, error
        own = [line for line in error.splitlines() if not line.startswith("tracking: ")]
        assert len(own) == 1, error
        assert own[0].startswith(f"{step}: ")
        assert all(word in own[0] for word in words), error
        assert checkout.outputs() == before

    return check


@pytest.mark.parametrize("fault", FAULTS)
def test_register_without_its_store(with_package, store, ends, run, monkeypatch, fault):
    store(fault)
    ends(with_package, "register", PASSING, "MLflow at", "start its server, or set MLFLOW_TRACKING_URI")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert run(with_package, "register") == 0


@pytest.mark.parametrize("fault", REFUSALS)
def test_register_at_a_store_that_refuses(with_package, store, ends, fault):
    store(fault)
    ends(with_package, "register", 2, "MLflow at", fault)


@pytest.mark.parametrize("fault", [503, 429, "reset"])
def test_backbones_while_the_hub_fails(published, hub, ends, run, fault):
    folder = published.root / "weights"
    hub.files = {
        name: {path.name: path.read_bytes() for path in (folder / name).iterdir()}
        for name in (PUBLISHED["language_model"], PUBLISHED["image_encoder"])
    }
    shutil.rmtree(folder)
    configure(published, PUBLISHED | {"folder": ""})
    hub.faults = [fault] * 10
    ends(published, "backbones", PASSING, "model.safetensors")
    hub.faults = [404] * 10
    ends(published, "backbones", 2, "model.safetensors")
    hub.faults = []
    assert run(published, "backbones") == 0


def test_download_from_a_disk_that_does_not_answer(shards_checkout, ends):
    """The kernel gives EIO for the first byte of this file, as a network disk does for all of its own."""
    path = shards_checkout.root / "raw" / "train" / "questions.json"
    path.unlink()
    path.symlink_to("/proc/self/mem")
    ends(shards_checkout, "download", PASSING, os.strerror(errno.EIO))
    path.unlink()
    path.write_text("[]")
    ends(shards_checkout, "download", 2, "data.easy_vqa.sha256 expects")


def test_backbones_from_a_folder_whose_disk_does_not_answer(published, ends, run):
    """A pinned file of the user's own folder."""
    path = published.root / "weights" / PUBLISHED["language_model"] / "tokenizer.json"
    content = path.read_bytes()
    path.unlink()
    lock = published.root / fetch.PINS
    pins = lock.read_text()
    path.symlink_to("/proc/self/mem")
    changed = json.loads(pins)
    changed[PUBLISHED["language_model"]]["files"]["tokenizer.json"]["size"] = path.stat().st_size
    lock.write_text(json.dumps(changed))
    ends(published, "backbones", PASSING, os.strerror(errno.EIO))
    path.unlink()
    path.write_bytes(content)
    lock.write_text(pins)
    assert run(published, "backbones") == 0

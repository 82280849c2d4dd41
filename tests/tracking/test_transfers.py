"""Time for files on their way: in proportion to their size, and given back; a real server that lets clients wait."""

from __future__ import annotations

import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tinygptv.tracking import transfers
from tinygptv.tracking.client import prepare_environment
from tinygptv.tracking.transfers import REQUEST_SECONDS, VARIABLE, time_for

PACKAGE = 5_500_000_000


def limit() -> int:
    from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_TIMEOUT

    return int(MLFLOW_HTTP_REQUEST_TIMEOUT.get())


def test_the_limit_grows_with_the_size_and_comes_back():
    prepare_environment()
    assert limit() == REQUEST_SECONDS
    for size, least, most in ((0, 10, 10), (1_000_000, 10, 11), (PACKAGE, 1000, 2000)):
        with time_for(size):
            assert least <= limit() <= most
            prepare_environment()  # as another part of the process may
            assert least <= limit() <= most
    assert limit() == REQUEST_SECONDS
    with pytest.raises(OSError, match="no"), time_for(PACKAGE):
        raise OSError("no")
    assert limit() == REQUEST_SECONDS


def test_a_small_file_of_another_thread_takes_no_time_away():
    begun, may_end = threading.Event(), threading.Event()

    def small() -> None:
        with time_for(1):
            begun.set()
            may_end.wait(20)

    prepare_environment()
    thread = threading.Thread(target=small)
    with time_for(PACKAGE):
        thread.start()
        assert begun.wait(20)
        assert limit() > 1000
        may_end.set()
        thread.join()
        assert limit() > 1000
    assert limit() == REQUEST_SECONDS


class Slow(BaseHTTPRequestHandler):
    """Takes a file whole, or gives one, after longer than a question may take."""

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._after_a_while(b"")

    def do_GET(self) -> None:
        self._after_a_while(b"content")

    def _after_a_while(self, content: bytes) -> None:
        self.server.patience.wait(2.5)
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *about: object) -> None:
        pass


@pytest.fixture
def slow():
    with ThreadingHTTPServer(("127.0.0.1", 0), Slow) as server:
        server.patience = threading.Event()
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.patience.set()
        server.shutdown()
        thread.join()


def test_mlflow_waits_for_a_store_that_needs_time(slow, tmp_path, monkeypatch):
    from mlflow.exceptions import MlflowException
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    monkeypatch.setattr(transfers, "REQUEST_SECONDS", 1)
    prepare_environment()
    (tmp_path / "file").write_bytes(b"x" * 1000)
    files = get_artifact_repository("mlflow-artifacts:/1", tracking_uri=slow)
    with pytest.raises(MlflowException, match="timeout"):
        files.log_artifact(str(tmp_path / "file"))
    with time_for(transfers.BYTES_A_SECOND * 60):
        files.log_artifact(str(tmp_path / "file"))
        files._download_file("file", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == b"content"
    assert os.environ[VARIABLE] == "1"

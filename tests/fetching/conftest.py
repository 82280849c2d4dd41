"""A server on this machine whose files a test makes, with faults; and a canary that nobody may ask."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tinygptv.fetching.network import Network


@dataclass
class Route:
    """A file, and what goes wrong with it."""

    content: bytes = b""
    kind: str = "application/octet-stream"
    etag: str = ""
    ranges: bool = True
    statuses: list[int] = field(default_factory=list)
    """The next answers are these, without a file."""
    cuts: list[int] = field(default_factory=list)
    """The next answers end after so many bytes."""
    location: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    endless: bool = False
    """It has no length, and goes on until nobody takes it."""
    waits_after: int | None = None
    """Bytes after which it waits for ``released``."""


@dataclass
class FileServer:
    """Routes, and what was asked."""

    address: str = ""
    routes: dict[str, Route] = field(default_factory=dict)
    asked: list[tuple[str, str | None, str | None]] = field(default_factory=list)
    """Path, ``Range``, ``If-Range``."""
    released: threading.Event = field(default_factory=threading.Event)

    def add(self, path: str, content: bytes = b"", **faults: object) -> str:
        """A file at a path; its address."""
        self.routes[path] = Route(content, **faults)  # type: ignore[arg-type]
        return f"{self.address}{path}"

    def ranges(self) -> list[str | None]:
        """What was asked for of files."""
        return [wanted for _, wanted, _ in self.asked]


class Handler(BaseHTTPRequestHandler):
    server_of: FileServer

    def log_message(self, *_) -> None:
        pass

    def do_GET(self) -> None:
        wanted, condition = self.headers["Range"], self.headers["If-Range"]
        self.server_of.asked.append((self.path, wanted, condition))
        route = self.server_of.routes.get(self.path)
        if route is None or route.statuses or route.location:
            self.send_response(404 if route is None else 302 if route.location else route.statuses.pop(0))
            if route is not None and route.location:
                self.send_header("Location", route.location)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and route.ranges else 0
        if condition and condition != route.etag:
            start = 0
        if start and start >= len(route.content):
            self.send_response(416)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(route.content) - 1}/{len(route.content)}")
        if route.etag:
            self.send_header("ETag", route.etag)
        if not route.endless:
            self.send_header("Content-Length", str(len(route.content) - start))
        self.send_header("Content-Type", route.kind)
        for name, value in route.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.send(route, start)
        self.close_connection = True

    def send(self, route: Route, start: int) -> None:
        content = route.content[start:]
        content = content[: route.cuts.pop(0)] if route.cuts else content
        try:
            if route.waits_after is not None:
                self.wfile.write(content[: route.waits_after])
                self.wfile.flush()
                self.server_of.released.wait(30)
                content = content[route.waits_after :]
            self.wfile.write(content)
            while route.endless:
                self.wfile.write(bytes(1 << 16))
        except OSError:
            pass  # who asked has gone


def running(make: Callable[[], FileServer]) -> Iterator[FileServer]:
    made = make()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("FileHandler", (Handler,), {"server_of": made}))
    made.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield made
    made.released.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def files() -> Iterator[FileServer]:
    """Public, as it were: ``here`` may ask it."""
    yield from running(FileServer)


@pytest.fixture
def canary() -> Iterator[FileServer]:
    """A machine of this network, with something at every path that a test asks for; no test may leave a trace in it."""
    yield from running(FileServer)


@pytest.fixture
def here() -> Network:
    """This machine's servers may be asked."""
    return Network(loopback=True)


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between attempts."""
    from tinygptv.fetching import transfer

    monkeypatch.setattr(transfer.time, "sleep", lambda seconds: None)

"""A proxy before a service whose faults are switched while it runs: down, 500, 429, late, answers lost."""

from __future__ import annotations

import http.client
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

Mode = Literal["pass", "down", "500", "429", "late", "lost", "lost once"]
FAULTS = ("down", "500", "429", "late", "lost")
"""Those that last until the mode is another."""
LATE_SECONDS = 5.0
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}


class FaultyProxy:
    """Passes requests on to a port of the loopback.

    ``down``: nothing listens. ``500`` and ``429``: an answer without the service. ``late``: passed on after five
    seconds. ``lost``: passed on, and answered with 502 whatever the service said. ``lost once``: that only for the
    first request of each kind.
    """

    def __init__(self, upstream: int) -> None:
        self.upstream = upstream
        self.seen: Counter[str] = Counter()
        """Requests by the mode in which they came."""
        self.lost: set[str] = set()
        """Kinds of requests that were answered once in the mode ``lost once``."""
        self._mode: Mode = "pass"
        self._server: ThreadingHTTPServer | None = None
        self.port = 0
        self._listen()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def mode(self) -> Mode:
        return self._mode

    @mode.setter
    def mode(self, mode: Mode) -> None:
        self._mode = mode
        if mode == "down":
            self.close()
        elif self._server is None:
            self._listen()

    def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def _listen(self) -> None:
        proxy = self

        class Handler(_Handler):
            owner = proxy

        ThreadingHTTPServer.daemon_threads = True
        ThreadingHTTPServer.block_on_close = False
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()


class _Handler(BaseHTTPRequestHandler):
    owner: FaultyProxy
    protocol_version = "HTTP/1.1"
    timeout = 30

    def log_message(self, *arguments: object) -> None:
        """Quiet."""

    def _answer(self) -> None:
        mode = self.owner.mode
        self.owner.seen[mode] += 1
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if mode == "down":  # a connection from before
            self.close_connection = True
            return
        if mode in ("500", "429"):
            self._send(int(mode), {"Retry-After": "600"} if mode == "429" else {}, b"<html>broken</html>")
            return
        if mode == "late":
            time.sleep(LATE_SECONDS)
        status, headers, content = self._pass_on(body)
        kind = "/".join(self.path.partition("?")[0].split("/")[:6])
        if mode == "lost" or (mode == "lost once" and kind not in self.owner.lost):
            self.owner.lost.add(kind)
            self._send(502, {}, b"<html>bad gateway</html>")
        else:
            self._send(status, headers, content)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _answer

    def _pass_on(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.owner.upstream, timeout=60)
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            kept = {name: value for name, value in answer.getheaders() if name.lower() not in HOP_BY_HOP}
            return answer.status, kept, answer.read()
        except OSError:
            return 502, {}, b""
        finally:
            connection.close()

    def _send(self, status: int, headers: dict[str, str], content: bytes) -> None:
        try:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)
        except OSError:  # whoever asked has gone
            self.close_connection = True

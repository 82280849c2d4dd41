"""The part of MLflow's server that hands out files: lists of folders with sizes, and contents; with faults."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

ROUTE = "/api/2.0/mlflow-artifacts/artifacts"


class ArtifactServer:
    """Hands out a folder; ``fault`` answers contents instead: a status, or "cut" for a part of each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.fault: int | str | None = None
        self.bytes = 0
        """Contents sent so far."""
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                below = parts.path.removeprefix(ROUTE).strip("/")
                if below:
                    owner._content(self, folder / below)
                else:
                    owner._list(self, folder / parse_qs(parts.query).get("path", [""])[0])

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}{ROUTE}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _list(self, request: BaseHTTPRequestHandler, folder: Path) -> None:
        found = [
            {
                "path": path.name,
                "is_dir": path.is_dir(),
                **({} if path.is_dir() else {"file_size": path.stat().st_size}),
            }
            for path in sorted(folder.iterdir())
        ]
        self._send(request, 200, json.dumps({"files": found}).encode())

    def _content(self, request: BaseHTTPRequestHandler, path: Path) -> None:
        if isinstance(self.fault, int):
            return self._send(request, self.fault, b"<html>no</html>")
        content = path.read_bytes()
        self.bytes += len(content)
        return self._send(request, 200, content, len(content) // 2 if self.fault == "cut" else None)

    def _send(self, request: BaseHTTPRequestHandler, status: int, content: bytes, part: int | None = None) -> None:
        request.send_response(status)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content[:part])
        request.close_connection = True


@contextmanager
def artifact_server(folder: Path) -> Iterator[ArtifactServer]:
    """A server for the block."""
    server = ArtifactServer(folder)
    try:
        yield server
    finally:
        server.close()

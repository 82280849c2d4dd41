"""A hub on this machine: the routes, headers and redirects of the real one, over files that a test makes."""

from __future__ import annotations

import hashlib
import json
import socket
import struct
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from tests.hub_pushes import LARGE, REVISION, Pushes, sha256
from tinygptv.model.upstream.pins import Pin, Repository


class Hub:
    """Repositories and what has been asked of them."""

    def __init__(self) -> None:
        self.files: dict[str, dict[str, bytes]] = {}
        """Repository, ``datasets/`` in front of a data set's, → its files now."""
        self.commits: dict[str, dict[str, dict[str, bytes]]] = {}
        """Repository → commit → the files then."""
        self.private: dict[str, bool] = {}
        """Of what was made with ``create_repo``."""
        self.uploads: dict[str, bytes] = {}
        """SHA-256 → what was sent, to be named in a commit."""
        self.requests: list[tuple[str, str, str | None]] = []
        """Method, route, range."""
        self.tokens: list[tuple[str, str | None]] = []
        """Route, ``Authorization``."""
        self.cuts: list[int] = []
        """The next transfers end after so many bytes."""
        self.faults: list[int | str] = []
        """The next requests are refused with a status, reset, or left without an answer ("slow")."""
        self.substitute: bytes | None = None
        """Sent instead of a file's content."""
        self.damaged: bytes | None = None
        """Sent instead of a file's content, and nothing else."""
        self.patience = threading.Event()
        """Ends the waits of those that are left without an answer."""
        self.address = ""
        self.store = ""
        """Another host, as it is for the real hub's large files."""

    def transfers(self) -> list[str | None]:
        """Ranges of the transfers of large files."""
        return [ranges for method, route, ranges in self.requests if method == "GET" and route.startswith("/cdn/")]

    def head(self, name: str) -> str:
        """The last commit of a repository."""
        return next(reversed(self.commits.get(name, {REVISION: {}})))

    def at(self, name: str, revision: str) -> dict[str, bytes] | None:
        """The files of a repository at a commit or a branch; None where there is no such."""
        if revision in ("main", self.head(name)):
            return self.files[name]
        return self.commits.get(name, {}).get(revision)

    def repository(self, name: str) -> Repository:
        """Everything of a repository, pinned."""
        pins = {file: Pin(size=len(data), sha256=sha256(data)) for file, data in self.files[name].items()}
        return Repository(revision=REVISION, files=pins)


def entry_of(path: str, data: bytes) -> dict[str, Any]:
    """A file as a tree lists it."""
    blob = hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()
    entry: dict[str, Any] = {"type": "file", "path": path, "size": len(data), "oid": blob}
    if len(data) >= LARGE:
        entry["lfs"] = {"oid": sha256(data), "size": len(data), "pointerSize": 134}
    return entry


class Handler(Pushes):
    hub: Hub

    def log_message(self, *_) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def do_GET(self) -> None:
        self.answer(with_body=True)

    def answer(self, *, with_body: bool) -> None:
        route = urlsplit(self.path).path
        self.hub.requests.append((self.command, route, self.headers["Range"]))
        self.hub.tokens.append((route, self.headers["Authorization"]))
        parts = route.strip("/").split("/")
        fault = self.hub.faults.pop(0) if self.hub.faults else None
        if isinstance(fault, int):
            self.refuse(fault, "")
        elif fault == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        elif fault == "slow":
            self.hub.patience.wait(60)
            self.close_connection = True
        elif parts[0] == "cdn":
            data = next(d for files in self.hub.files.values() for d in files.values() if sha256(d) == parts[1])
            self.send_content(data, with_body=with_body)
        elif parts[0] == "api":
            name = "/".join(parts[1:4] if parts[1] == "datasets" else parts[2:4])
            if parts[4:5] == ["tree"]:
                self.send_tree(name, parts[5], unquote("/".join(parts[6:])))
            else:
                self.send_info(name, parts[5] if len(parts) > 4 else "main")
        else:
            of_set = int(parts[0] == "datasets")
            name, (_, revision, *file) = "/".join(parts[: 2 + of_set]), parts[2 + of_set :]
            self.send_file(name, revision, unquote("/".join(file)), with_body=with_body)

    def refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def send_info(self, name: str, revision: str) -> None:
        if name not in self.hub.files:
            return self.refuse(404, "RepoNotFound")
        if (files := self.hub.at(name, revision)) is None:
            return self.refuse(404, "RevisionNotFound")
        head = self.hub.head(name) if revision == "main" else revision
        siblings = []
        for file, data in files.items():
            sibling = {"rfilename": file, "size": len(data), "blobId": "b" * 40}
            if len(data) >= LARGE:
                sibling["lfs"] = {"size": len(data), "sha256": sha256(data), "pointerSize": 134}
            siblings.append(sibling)
        told = {"id": name, "sha": head, "siblings": siblings, "private": self.hub.private.get(name, False)}
        content = json.dumps(told).encode()
        content = self.hub.substitute or content
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        return self.wfile.write(content)

    def send_json(self, content: object, status: int = 200) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def send_tree(self, name: str, revision: str, path: str) -> None:
        if (files := self.found(name, revision)) is None:
            return None
        below = f"{path}/" if path else ""
        entries = [entry_of(file, data) for file, data in sorted(files.items()) if file.startswith(below)]
        return self.send_json(entries) if entries else self.refuse(404, "EntryNotFound")

    def found(self, name: str, revision: str) -> dict[str, bytes] | None:
        """The files of a repository; where there are none, that is said."""
        if name not in self.hub.files:
            self.refuse(404, "RepoNotFound")
        elif (files := self.hub.at(name, revision)) is None:
            self.refuse(404, "RevisionNotFound")
        else:
            return files
        return None

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        route = urlsplit(self.path).path
        self.hub.requests.append((self.command, route, None))
        self.hub.tokens.append((route, self.headers["Authorization"]))
        if self.hub.faults:
            return self.refuse(int(self.hub.faults.pop(0)), "")
        parts = route.strip("/").split("/")
        if parts[0] != "api" or len(parts) < 3 or parts[1] == "repos" or parts[4:5] in (["preupload"], ["commit"]):
            return self.take(parts, body)
        name = "/".join(parts[1:4] if parts[1] == "datasets" else parts[2:4])
        if parts[4:5] == ["paths-info"]:
            if (files := self.found(name, parts[5])) is None:
                return None
            wanted = parse_qs(body.decode())["paths"]
            entries = [entry_of(path, files[path]) for path in wanted if path in files]
            folders = [path for path in wanted if any(file.startswith(f"{path}/") for file in files)]
            return self.send_json(entries + [{"type": "directory", "path": path, "oid": "d" * 40} for path in folders])
        return self.refuse(404, "")

    def send_file(self, name: str, revision: str, file: str, *, with_body: bool) -> None:
        if (files := self.found(name, revision)) is None:
            return None
        if file not in files:
            return self.refuse(404, "EntryNotFound")
        data = files[file]
        headers = {"x-repo-commit": self.hub.head(name) if revision == "main" else revision}
        if len(data) < LARGE:
            return self.send_content(data, with_body=with_body, **headers, ETag=f'"{entry_of(file, data)["oid"]}"')
        self.send_response(302)
        headers |= {"x-linked-etag": f'"{sha256(data)}"', "x-linked-size": str(len(data)), "Content-Length": "0"}
        headers |= {"Location": f"{self.hub.store}/cdn/{sha256(data)}"}
        for key, value in headers.items():
            self.send_header(key, value)
        return self.end_headers()

    def send_content(self, data: bytes, *, with_body: bool, **headers: str) -> None:
        if self.hub.substitute is not None and with_body:
            data = self.hub.substitute
        if self.hub.damaged is not None and with_body:
            data = self.hub.damaged
        start = 0
        if self.headers["Range"]:
            first, _, last = self.headers["Range"].removeprefix("bytes=").partition("-")
            start, data = int(first), data[: int(last) + 1 if last else None]
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        self.send_response(206 if self.headers["Range"] else 200)
        self.send_header("Content-Length", str(len(data) - start))
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()
        if with_body:
            self.wfile.write(data[start:][: self.hub.cuts.pop(0) if self.hub.cuts else None])
            self.close_connection = True


def use(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What ``HF_ENDPOINT`` does; the library has read its environment already."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", address)
    template = f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A running hub, which ``HF_ENDPOINT`` names; the real one is out of reach."""
    from huggingface_hub import constants, file_download

    made = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("HubHandler", (Handler,), {"hub": made}))
    made.address = f"http://127.0.0.1:{server.server_port}"
    made.store = f"http://localhost:{server.server_port}"
    use(made.address, monkeypatch)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # a protocol of its own, which this hub has not
    monkeypatch.setattr(file_download.time, "sleep", lambda seconds: None)  # between its retries
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield made
    made.patience.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch, hub: Hub) -> Hub:
    """The hub's address, where nothing listens."""
    use("http://127.0.0.1:9", monkeypatch)
    return hub

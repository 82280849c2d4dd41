"""A real S3 server for tests: SeaweedFS as a plain process on loopback, with credentials and nothing left behind."""

from __future__ import annotations

import ctypes
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinygptv.processes import PR_SET_PDEATHSIG

ACCESS_KEY, SECRET_KEY = "a-key-of-the-tests", "a-secret-of-the-tests"
BUCKET = "tests"
"""One for all: each bucket takes several of the server's volumes."""
START_SECONDS = 60
ATTEMPTS = 3


@dataclass(frozen=True)
class S3Server:
    """A running server."""

    url: str
    process: subprocess.Popen[bytes]
    sockets: tuple[Path, ...]
    """Files that it makes outside its folder; their place is fixed in its code."""

    def files(self) -> Any:
        """Its buckets as a file system, with the right credentials."""
        from s3fs import S3FileSystem

        return S3FileSystem(
            key=ACCESS_KEY,
            secret=SECRET_KEY,
            endpoint_url=self.url,
            use_listings_cache=False,
            skip_instance_cache=True,
            config_kwargs={"connect_timeout": 5, "read_timeout": 10, "retries": {"max_attempts": 0}},
        )


@contextmanager
def serve(folder: Path) -> Iterator[S3Server]:
    """A server with its state below ``folder``, for as long as the block lasts; it dies with this process too."""
    server = next(filter(None, (_start(folder / str(attempt)) for attempt in range(ATTEMPTS))), None)
    if server is None:
        logs = "\n".join(path.read_text(errors="replace")[-2000:] for path in sorted(folder.glob("*/log")))
        raise RuntimeError(f"the S3 server does not start\n{logs}")
    try:
        yield server
    finally:
        stop(server)


def stop(server: S3Server) -> None:
    """End the server; there is nothing in it to keep, and its own farewell takes 15 seconds."""
    server.process.kill()
    server.process.wait()
    for path in server.sockets:
        path.unlink(missing_ok=True)


def _start(folder: Path) -> S3Server | None:
    """Start it, or None where it ended at once: another process may have taken a port in between."""
    (folder / "data").mkdir(parents=True)
    credentials = [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}]
    identity = {"name": "tests", "credentials": credentials, "actions": ["Admin", "Read", "List", "Tagging", "Write"]}
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    master, master_grpc, volume, volume_grpc, filer, filer_grpc, s3, s3_grpc = _free_ports(8)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                Path(sys.executable).parent / "weed",
                "server",
                f"-dir={folder / 'data'}",
                "-ip=127.0.0.1",
                "-ip.bind=127.0.0.1",
                f"-master.port={master}",
                f"-master.port.grpc={master_grpc}",
                "-master.telemetry=false",
                "-master.volumeSizeLimitMB=64",
                f"-volume.port={volume}",
                f"-volume.port.grpc={volume_grpc}",
                "-volume.max=20",
                "-filer",
                f"-filer.port={filer}",
                f"-filer.port.grpc={filer_grpc}",
                f"-filer.localSocket={folder / 'filer.sock'}",
                "-s3",
                f"-s3.port={s3}",
                f"-s3.port.grpc={s3_grpc}",
                "-s3.port.iceberg=0",
                "-s3.port.lance=0",
                f"-s3.localSocket={folder / 's3.sock'}",
                f"-s3.config={folder / 's3.json'}",
                "-s3.autoCreateBucket=false",
            ],
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
            preexec_fn=_die_with_parent,
        )
    inner = {"master": master_grpc, "volume": volume_grpc, "filer": filer_grpc, "s3": s3_grpc}
    sockets = tuple(Path(f"/tmp/seaweedfs-{name}-grpc-{port}.sock") for name, port in inner.items())
    server = S3Server(f"http://127.0.0.1:{s3}", process, sockets)
    try:
        ready = _ready(server)
    except BaseException:
        stop(server)
        raise
    if not ready:
        stop(server)
    return server if ready else None


def _ready(server: S3Server) -> bool:
    """Whether an object can be written and read within the time."""
    from botocore.exceptions import BotoCoreError

    end = time.monotonic() + START_SECONDS
    files = server.files()
    while server.process.poll() is None and time.monotonic() < end:
        try:
            if not files.exists(BUCKET):
                files.mkdir(BUCKET)
            files.pipe_file(f"{BUCKET}/start", b"content")
            return bool(files.cat_file(f"{BUCKET}/start") == b"content")
        except (OSError, BotoCoreError):  # an answer that is no success, and no answer
            time.sleep(0.2)
    return False


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for taken in sockets:
            taken.bind(("127.0.0.1", 0))
        return [taken.getsockname()[1] for taken in sockets]
    finally:
        for taken in sockets:
            taken.close()


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

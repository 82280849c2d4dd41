"""A real S3 server for tests: SeaweedFS as a plain process on loopback, with credentials and nothing left behind."""

from __future__ import annotations

import ctypes
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinygptv.ground.processes import PR_SET_PDEATHSIG
from tinygptv.team import s3

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
    folder.mkdir(parents=True)
    s3.write_keys(folder, {"key": ACCESS_KEY, "secret": SECRET_KEY}, {})
    port, *others = s3.free_ports(1 + len(s3.INNER))
    inner = dict(zip(s3.INNER, others, strict=True))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            s3.command(folder, port, inner, volumes=20, megabytes=64),
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
            preexec_fn=_die_with_parent,
        )
    server = S3Server(f"http://127.0.0.1:{port}", process, s3.sockets(inner))
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


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

"""Running a service on this machine's loopback until it is told to stop."""

from __future__ import annotations

import errno
import json
import logging
import signal
import socket
import sys
from collections.abc import Mapping
from types import FrameType
from typing import TYPE_CHECKING

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from tinygptv.ground.errors import UserError, from_os_error
from tinygptv.ground.servers import HOST
from tinygptv.serving.requests import error_content

if TYPE_CHECKING:
    from fastapi import FastAPI

SWITCH_SECONDS = 0.0005
"""The model's thread hands Python over at each of its many small products, and gets it back from the thread that reads
requests only after this time. With Python's own 5 ms a busy service gives a fifth fewer answers."""


class OneForm(H11Protocol):
    """HTTP whose refusal of what is no HTTP has the form of all others."""

    def send_400_response(self, msg: str) -> None:
        """Answer a request that cannot be read, and hang up."""
        content = json.dumps(error_content(400, msg)).encode()
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(content))), ("Connection", "close")]
        events = (h11.Response(status_code=400, headers=headers), h11.Data(data=content), h11.EndOfMessage())
        for event in events:
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


def bind(port: int) -> socket.socket:
    """Take a port of the loopback before minutes go into loading; 0 takes a free one.

    Raises:
        UserError: somebody else has it.
    """
    taken = socket.socket()
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        taken.bind((HOST, port))
    except OSError as error:
        taken.close()
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise from_os_error(error, f"opening port {port}") from None
        raise UserError(f"port {port} cannot be used ({error.strerror}); choose another one with --port") from None
    return taken


def serve(app: FastAPI, listener: socket.socket, stop_seconds: int, versions: Mapping[str, str]) -> None:
    """Serve until SIGTERM or Ctrl-C; what is being answered then is still answered.

    Args:
        app: the service.
        listener: a bound socket.
        stop_seconds: until what is still being answered is given up.
        versions: the served models, to be told with the address once connections are taken.
    """
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # of libraries: a line for each request
    config = configuration(app, stop_seconds)
    # uvicorn stops in order and then raises the signal once more, for whom it was before: an end by signal, code 143.
    interval = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_SECONDS)
    former = {number: signal.signal(number, _nothing) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        listener.listen(config.backlog)
        print(f"http://{HOST}:{listener.getsockname()[1]}")
        print("\n".join(f"  {source}  {version}" for source, version in versions.items()), flush=True)
        uvicorn.Server(config).run(sockets=[listener])
    finally:
        sys.setswitchinterval(interval)
        for number, handler in former.items():
            signal.signal(number, handler)


def configuration(app: FastAPI, stop_seconds: int) -> uvicorn.Config:
    """How uvicorn runs the service."""
    return uvicorn.Config(
        app,
        http=OneForm,
        log_config=None,
        log_level="warning",
        access_log=False,
        lifespan="on",
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=stop_seconds,
    )


def _nothing(number: int, frame: FrameType | None) -> None:
    """Being told to stop is no error."""

"""A Prefect server as a process of its own that can be killed and started again at the same address."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

START_SECONDS = 180


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class PrefectServer:
    """``prefect server start`` on the loopback with its database below a folder."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/api"
        self._log = folder / "prefect-server.log"
        self._env = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")} | {
            "PREFECT_HOME": str(folder / "prefect-home"),
            "PREFECT_SERVER_API_HOST": "127.0.0.1",
            "PREFECT_SERVER_API_PORT": str(self.port),
            "PREFECT_API_URL": self.url,
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_UI_ENABLED": "false",
            "DO_NOT_TRACK": "true",
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with self._log.open("ab") as log:
            command = [sys.executable, "-m", "prefect", "server", "start"]
            self._process = subprocess.Popen(command, env=self._env, stdout=log, stderr=log, start_new_session=True)
        deadline = time.monotonic() + START_SECONDS
        while not self.answers():
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.2)

    def kill(self) -> None:
        """SIGKILL it, and its children with it."""
        assert self._process is not None
        os.killpg(self._process.pid, 9)
        self._process.wait()

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=2) as answer:
                return answer.status == 200
        except OSError:
            return False

    def runs(self, kind: str) -> list[dict[str, Any]]:
        """All ``flow_runs`` or ``task_runs`` that the server knows."""
        request = urllib.request.Request(
            f"{self.url}/{kind}/filter", json.dumps({}).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def states(self, kind: str) -> list[str]:
        """State types, such as ``COMPLETED``, in order of their names."""
        return [run["state_type"] for run in sorted(self.runs(kind), key=lambda run: (run["name"], run["created"]))]


@contextmanager
def prefect_server(folder: Path) -> Iterator[PrefectServer]:
    """A server for the block."""
    server = PrefectServer(folder)
    server.start()
    try:
        yield server
    finally:
        server.kill()

"""``python -m flows.ui``: MLflow and Prefect on this machine's loopback, for a look, until Ctrl-C."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from flows.environment import isolated
from tinygptv.errors import EXIT_USER_ERROR, UserError
from tinygptv.processes import guarded
from tinygptv.steps.harness import find_root

HOST = "127.0.0.1"
MLFLOW_PORT, PREFECT_PORT = 5000, 4200


def main() -> int:
    """Start both servers and wait for one of them to end, or for Ctrl-C."""
    try:
        root = find_root(Path.cwd())
        for port in (MLFLOW_PORT, PREFECT_PORT):
            _check_free(port)
    except UserError as error:
        print(f"ui: {error}", file=sys.stderr)
        return EXIT_USER_ERROR
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    env = isolated(os.environ, root) | {
        # --port alone would leave Prefect's page talking to the default port
        "PREFECT_SERVER_API_HOST": HOST,
        "PREFECT_SERVER_API_PORT": str(PREFECT_PORT),
        "PREFECT_API_URL": f"http://{HOST}:{PREFECT_PORT}/api",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    commands = {"MLflow": _mlflow(root), "Prefect": [sys.executable, "-m", "prefect", "server", "start"]}
    servers = {
        name: subprocess.Popen(guarded(command), cwd=root, env=env, stdout=subprocess.DEVNULL)
        for name, command in commands.items()
    }
    print(f"MLflow   http://{HOST}:{MLFLOW_PORT}\nPrefect  http://{HOST}:{PREFECT_PORT}", flush=True)
    print("Both answer after about 10 seconds; Ctrl-C ends them.", flush=True)
    try:
        while not (ended := [name for name, server in servers.items() if server.poll() is not None]):
            time.sleep(0.5)
    except KeyboardInterrupt:
        return 0
    finally:
        for server in servers.values():
            server.terminate()
        for server in servers.values():
            server.wait()
    print(f"ui: {ended[0]} ended by itself; its lines are above", file=sys.stderr)
    return 1


def _mlflow(root: Path) -> list[str]:
    """One worker is enough to look and takes a fifth of the memory."""
    store = [
        "--backend-store-uri",
        f"sqlite:///{root / 'mlflow.db'}",
        "--artifacts-destination",
        str(root / "mlartifacts"),
    ]
    return [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        *store,
        "--host",
        HOST,
        "--port",
        str(MLFLOW_PORT),
        "--workers",
        "1",
    ]


def _check_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            raise UserError(
                f"port {port} is in use; stop what listens there (`ss -ltnp | grep {port}` names it)"
            ) from None


if __name__ == "__main__":
    sys.exit(main())

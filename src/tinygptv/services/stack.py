"""The three processes of ``tinygptv up``: how each is started, where it answers and how patiently it is ended."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from tinygptv.ground.processes import GRACE_SECONDS
from tinygptv.ground.servers import HOST, HOST_NAMES, MLFLOW_VARIABLE, PREFECT_VARIABLE, ServerSettings
from tinygptv.ground.stores import FOREIGN, stores_of
from tinygptv.services import processes
from tinygptv.services.environment import prefect_environment

POOL = "local"
"""The work pool of prefect.yaml."""


@dataclass(frozen=True, slots=True)
class Service(processes.RecordedProcess):
    """One of the processes."""

    name: str
    settings: ServerSettings
    command: tuple[str, ...]
    environment: Mapping[str, str]
    address: str = ""
    """Where a person looks at it; empty for the worker, to which nobody speaks."""
    health: str = ""
    """Answers 200 without a password, once the server is ready."""
    port: int = 0
    variable: str = ""
    """The environment variable that gives it another port."""
    patience: tuple[float, ...] = (GRACE_SECONDS, GRACE_SECONDS)
    """Seconds after each SIGTERM, and for what is left then (``processes.end``)."""

    def end(self) -> int:
        """End it and all below it; returns how many processes there were."""
        return processes.end(self.record, self.mark, self.patience)


def services(settings: ServerSettings, env: Mapping[str, str]) -> tuple[Service, ...]:
    """All three, in the order in which they start."""
    return _mlflow(settings, env), _prefect(settings, env), _worker(settings, env)


def environment(settings: ServerSettings, env: Mapping[str, str]) -> dict[str, str]:
    """The environment of all that talks to the project's Prefect: the checkout's code, and where to record.

    Flows write to the MLflow database of the checkout itself, as ``dvc repro`` does: they do not depend on MLflow's
    server, and an experiment that they create can be read without it. A team's database is behind the server.
    """
    root = settings.root
    own = prefect_environment(env, root, settings.prefect_api)
    paths = (str(root), str(root / "src"), env.get("PYTHONPATH", ""))
    own["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    return own if "MLFLOW_TRACKING_URI" in own else own | stores_of(settings).client


def _mlflow(settings: ServerSettings, env: Mapping[str, str]) -> Service:
    port, stores = settings.mlflow_port, stores_of(settings)
    allowed = ("--allowed-hosts", ",".join(f"{name}:{port}" for name in HOST_NAMES))
    # One worker is enough to look and takes a fifth of the memory; its job runner would be six processes more.
    listen = ("--host", HOST, "--port", str(port), "--workers", "1")
    quiet = {
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "PYTHONUNBUFFERED": "1",
    }
    return Service(
        name="mlflow",
        settings=settings,
        command=(sys.executable, "-m", "mlflow", "server", *stores.options, *allowed, *listen),
        environment={
            **{name: value for name, value in env.items() if not name.startswith(FOREIGN)},
            **quiet,
            **stores.mlflow,
        },
        address=settings.mlflow,
        health=f"{settings.mlflow}/health",
        port=port,
        variable=MLFLOW_VARIABLE,
    )


def _prefect(settings: ServerSettings, env: Mapping[str, str]) -> Service:
    port = str(settings.prefect_port)
    # Prefect's own `server start` has no check of the Host header; flows/server.py adds it.
    program = ("-m", "uvicorn", "--factory", "flows.server:create_app")
    options = ("--host", HOST, "--port", port, "--timeout-keep-alive", "5", "--timeout-graceful-shutdown", "5")
    return Service(
        name="prefect",
        settings=settings,
        command=(sys.executable, *program, *options, "--log-level", "warning"),
        environment=environment(settings, env)
        | stores_of(settings).prefect
        | {
            # by variables: the page asks these where the API is
            "PREFECT_SERVER_API_HOST": HOST,
            "PREFECT_SERVER_API_PORT": port,
            "PREFECT_SERVER_API_AUTH_STRING": settings.auth,
            "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": ",".join(f"http://{name}:{port}" for name in HOST_NAMES),
        },
        address=settings.prefect,
        health=f"{settings.prefect_api}/health",
        port=settings.prefect_port,
        variable=PREFECT_VARIABLE,
    )


def _worker(settings: ServerSettings, env: Mapping[str, str]) -> Service:
    options = ("--pool", POOL, "--type", "process", "--name", POOL, "--install-policy", "never")
    return Service(
        name="worker",
        settings=settings,
        command=(sys.executable, "-m", "prefect", "worker", "start", *options),
        # What is installed is pinned; a run must not change it, even where `uv` is at hand.
        environment=environment(settings, env) | {"PREFECT_RUNNER_AUTO_INSTALL_DEPENDENCIES": "false"},
        # The first SIGTERM lets it wait for its flows, the second ends these; steps then save their state.
        patience=(1.0, 3 * GRACE_SECONDS, 2 * GRACE_SECONDS),
    )

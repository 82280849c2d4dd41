"""The flow's own surroundings: Prefect below the checkout, no foreign server, no telemetry, quiet terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

KEPT_WITH_SERVER = ("PREFECT_API_AUTH_STRING", "PREFECT_API_KEY", "PREFECT_API_SSL_CERT_FILE")
"""Credentials that make sense only together with a server somebody asked for."""


def isolated(env: Mapping[str, str], root: Path, server: str | None = None) -> dict[str, str]:
    """The environment of a flow: every ``PREFECT_*`` variable is replaced by the project's own.

    It must be in place before Prefect is imported, because Prefect reads its settings once.

    Args:
        env: the caller's environment.
        root: the main checkout, below which Prefect keeps its database.
        server: address of a Prefect API; without it, ``TINYGPTV_PREFECT_API_URL``, or a temporary server of the flow.
    """
    server = server or env.get("TINYGPTV_PREFECT_API_URL") or None
    own = {name: value for name, value in env.items() if not name.startswith("PREFECT_")}
    if server is not None:
        own |= {name: env[name] for name in KEPT_WITH_SERVER if name in env}
        own["PREFECT_API_URL"] = server
    source = Path(__file__).resolve().parents[1]
    paths = [str(source), str(source / "src"), env.get("PYTHONPATH", "")]
    return own | {
        "PREFECT_HOME": str(root / ".prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "WARNING",
        "DO_NOT_TRACK": "true",
        "DVC_NO_ANALYTICS": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "TINYGPTV_PYTHON": sys.executable,
    }

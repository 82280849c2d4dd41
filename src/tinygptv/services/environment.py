"""Prefect's surroundings: below the checkout, no foreign server, no telemetry; what opens the checkout's servers."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from tinygptv.ground.addresses import split_user
from tinygptv.ground.servers import credentials_for
from tinygptv.ground.stores import login_for

KEPT_WITH_SERVER = ("PREFECT_API_AUTH_STRING", "PREFECT_API_KEY", "PREFECT_API_SSL_CERT_FILE")
"""Credentials that make sense only together with a server somebody asked for."""
HEARTBEAT_SECONDS = 30
"""How often a flow says that it lives; Prefect takes no smaller number."""


def prefect_environment(env: Mapping[str, str], root: Path, server: str | None = None) -> dict[str, str]:
    """The environment of anything of Prefect: every ``PREFECT_*`` variable is replaced by the project's own.

    It must be in place before Prefect is imported, because Prefect reads its settings once.

    Args:
        env: the caller's environment.
        root: the main checkout, below which Prefect keeps its database.
        server: address of a Prefect API; without it Prefect starts a temporary one. If it is the one of
            ``tinygptv up``, its credentials are added.
    """
    own = {name: value for name, value in env.items() if not name.startswith("PREFECT_")}
    own = login_for(root, env) | own
    if server is not None:
        own |= {name: env[name] for name in KEPT_WITH_SERVER if name in env}
        own["PREFECT_API_URL"], user, password = split_user(server)  # Prefect names its server where it is down
        if user:
            own["PREFECT_API_AUTH_STRING"] = f"{user}:{password}"
        # A flow that is silent for longer is taken for dead (flows/automations.py).
        own["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] = str(HEARTBEAT_SECONDS)
        credentials = credentials_for(root, server)
        if credentials is not None:
            own["PREFECT_API_AUTH_STRING"] = credentials
    return own | {
        "PREFECT_HOME": str(root / ".prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        "DO_NOT_TRACK": "true",
        "DVC_NO_ANALYTICS": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PYTHONUNBUFFERED": "1",
        "TINYGPTV_PYTHON": sys.executable,
    }

"""The flow's own surroundings: Prefect below the checkout, no foreign server, no telemetry, quiet terminal."""

from __future__ import annotations

import os
from argparse import ArgumentTypeError
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from tinygptv.ground.addresses import without_secrets
from tinygptv.services.environment import prefect_environment


def server_address(text: str) -> str:
    """The address of a Prefect API, as ``--server`` takes it."""
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ArgumentTypeError(f"{without_secrets(text)!r} is no address; such as http://127.0.0.1:4200/api")
    return text


def isolated(env: Mapping[str, str], root: Path, server: str | None = None) -> dict[str, str]:
    """The environment of a flow that a person starts.

    It must be in place before Prefect is imported, because Prefect reads its settings once.

    Args:
        env: the caller's environment.
        root: the main checkout, below which Prefect keeps its database.
        server: address of a Prefect API; without it, ``TINYGPTV_PREFECT_API_URL``, or a temporary server of the flow.
            That of ``tinygptv up`` needs no password here.
    """
    source = Path(__file__).resolve().parents[1]
    paths = [str(source), str(source / "src"), env.get("PYTHONPATH", "")]
    return prefect_environment(env, root, server or env.get("TINYGPTV_PREFECT_API_URL") or None) | {
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "WARNING",
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
    }

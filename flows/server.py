"""Prefect's server with a check of the ``Host`` header, which it does not have itself.

Without it, a web page whose name is suddenly said to be 127.0.0.1 (DNS rebinding) could speak to the API as if it were
its own. The password stops it, too; this keeps it from guessing.
"""

from __future__ import annotations

import os

from fastapi.middleware.trustedhost import TrustedHostMiddleware
from prefect.server.api import server

from tinygptv.ground.servers import HOST_NAMES

HOSTS_VARIABLE = "TINYGPTV_PREFECT_HOSTS"
"""Further names of the server, with spaces between them; for containers, which know it by another one."""


def create_app() -> TrustedHostMiddleware:
    """The server that ``prefect server start`` would start; a request to another name gets a 400.

    Around the application, not in it: automations call it within the process, by a name of their own.
    """
    names = [*HOST_NAMES, *os.environ.get(HOSTS_VARIABLE, "").split()]
    return TrustedHostMiddleware(server.create_app(final=True), allowed_hosts=names)

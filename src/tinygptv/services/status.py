"""What became of each server: whether its process lives, and whether it answers."""

from __future__ import annotations

import http.client
from collections.abc import Iterable
from dataclasses import dataclass

from tinygptv.ground.servers import HOST
from tinygptv.ground.tables import plain_table
from tinygptv.services import processes
from tinygptv.services.stack import Service

ANSWER_SECONDS = 2.0
RUNNING, SILENT, ENDED, STOPPED = "running", "does not answer", "ended by itself", "stopped"


@dataclass(frozen=True, slots=True)
class Status:
    """One server as it is now."""

    service: Service
    state: str
    """One of the words above."""
    pid: int | None

    @property
    def running(self) -> bool:
        """Whether it lives and answers."""
        return self.state == RUNNING


def look(service: Service) -> Status:
    """Find out about one server."""
    process = processes.known(service.record)
    if process is None:
        return Status(service, STOPPED, None)
    if not process.lives():
        return Status(service, ENDED, None)
    return Status(service, RUNNING if answers(service) else SILENT, process.pid)


def answers(service: Service) -> bool:
    """Whether the server says that it is well; a process without an address is well while it lives."""
    if not service.health:
        return True
    connection = http.client.HTTPConnection(HOST, service.port, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", service.health.removeprefix(f"http://{HOST}:{service.port}"))
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def table(statuses: Iterable[Status]) -> str:
    """For a terminal."""
    rows = [
        (
            status.service.name,
            status.state,
            str(status.pid or ""),
            status.service.address,
            str(status.service.log.relative_to(status.service.settings.root)) if status.service.log.exists() else "",
        )
        for status in statuses
    ]
    return plain_table(("service", "state", "PID", "address", "log"), rows, right=[2])

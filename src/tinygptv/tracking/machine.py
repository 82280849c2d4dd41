"""What the machine does while a step runs: processor, memory, and every NVIDIA GPU, as MLflow's own monitors measure.

MLflow's thread would send these itself, and wait where the server does not answer. Here they go through the spool, as
all records do. MLflow's page shows them under *System metrics*.
"""

from __future__ import annotations

import time
from typing import Any

from tinygptv.tracking.client import prepare_environment

SECONDS_BETWEEN_SAMPLES = 10.0
SECONDS_BEFORE_THE_FIRST = 1.0
PREFIX = "system/"


class Machine:
    """Samples of the machine, at most one in ``SECONDS_BETWEEN_SAMPLES``."""

    def __init__(self) -> None:
        self._monitors: list[Any] = []
        self._next = 0.0

    def sample(self) -> dict[str, float]:
        """Percent, megabytes and watts since the last sample, named as MLflow names them; empty before it is time."""
        if not self._monitors:
            self._monitors = _monitors()
            self._next = time.monotonic() + SECONDS_BEFORE_THE_FIRST
        if time.monotonic() < self._next:
            return {}
        self._next = time.monotonic() + SECONDS_BETWEEN_SAMPLES
        found: dict[str, float] = {}
        for monitor in self._monitors:
            monitor.collect_metrics()
            found |= {PREFIX + name: value for name, value in monitor.aggregate_metrics().items()}
            monitor.clear_metrics()
        return found


def _monitors() -> list[Any]:
    prepare_environment()  # in a step that records, this is the first to import MLflow
    import psutil
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor

    psutil.cpu_percent()  # the first call has nothing to compare with and says 0
    try:
        return [CPUMonitor(), GPUMonitor()]
    except RuntimeError:  # NVIDIA's library finds no driver or GPU
        return [CPUMonitor()]

"""What Prometheus reads at ``/metrics``."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)
SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """The service's figures, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self.requests = Counter(
            "tinygptv_requests", "Answered requests, by path and status.", ("path", "status"), registry=self._registry
        )
        self.seconds = Histogram(
            "tinygptv_answer_seconds",
            "From a question's arrival to its answer.",
            buckets=SECONDS,
            registry=self._registry,
        )
        self.waiting = Gauge("tinygptv_waiting", "Questions whose answer has not begun.", registry=self._registry)
        self.at_once = Gauge("tinygptv_requests_at_once", "Requests at work or waiting.", registry=self._registry)
        self.batch = Histogram(
            "tinygptv_batch", "Questions that are begun together.", buckets=BATCHES, registry=self._registry
        )
        self.step = Histogram("tinygptv_step", "Answers of a step.", buckets=BATCHES, registry=self._registry)
        self.step_seconds = Histogram(
            "tinygptv_step_seconds",
            "Seconds that the model took for a token of each answer.",
            buckets=(0.001, 0.002, 0.005, *SECONDS[:-3]),
            registry=self._registry,
        )
        self.swaps = Counter("tinygptv_swaps", "Models put in the place of another one.", registry=self._registry)
        self.failures = Counter(
            "tinygptv_refresh_failures", "Times that the registry or a new version failed.", registry=self._registry
        )
        self._serving = Gauge(
            "tinygptv_serving", "1 for each served model.", ("model", "version"), registry=self._registry
        )

    def serving(self, models: Mapping[str, str]) -> None:
        """Note the served models: address to version."""
        self._serving.clear()
        for source, version in models.items():
            self._serving.labels(source, version).set(1)

    def text(self) -> bytes:
        """Prometheus' text form."""
        return generate_latest(self._registry)

"""How fast each of the processes that share a stage is."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tinygptv.data.batches import Batch
    from tinygptv.ground.workers import Workers

PACE = "samples_per_second"
"""Name of the metric, before the number of the process."""


@dataclass(slots=True)
class Pace:
    """The samples that this process was given, and since when."""

    samples: int = 0
    since: float = field(default_factory=time.monotonic)

    def counted(self, steps: Iterable[list[Batch]]) -> Iterator[list[Batch]]:
        """The same steps."""
        for batches in steps:
            self.samples += sum(len(batch.record_ids) for batch in batches)
            yield batches

    def of_all(self, workers: Workers) -> dict[str, float]:
        """Samples a second of every process since the last call, as metrics."""
        now = time.monotonic()
        told = workers.tell(f"{self.samples / max(now - self.since, 1e-9):.6g}")
        self.samples, self.since = 0, now
        return {f"{PACE}/{rank}": float(rate) for rank, rate in enumerate(told)}

"""Which record is the k-th sample: computed from (seed, stage, k), never consumed from a stream.

Resuming is therefore a seek, and the order does not depend on workers, prefetch or what ran before.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygptv.ground.errors import DataError
from tinygptv.ground.tables import some


@dataclass(frozen=True, slots=True)
class Draw:
    """One sample: a task, the index of a record among the task's, and a number that picks the instruction."""

    task: str
    record: int
    template: int


class SampleOrder:
    """A ratio-weighted mixture of tasks, epoch by epoch.

    An epoch holds a fixed number of places. Every task has its exact share of them (largest remainder), drawn anew each
    epoch, and goes through all its records in a fresh order before one comes again. A place takes one sample, or
    several of its task.
    """

    def __init__(
        self,
        sizes: Mapping[str, int],
        weights: Mapping[Any, float],
        samples: Mapping[Any, int],
        epoch_size: int,
        seed: int,
        stage: str,
    ) -> None:
        """Plan the mixture.

        Args:
            sizes: task to its count of records.
            weights: task to its weight in the mixture.
            samples: task to the samples that one of its places takes.
            epoch_size: places of an epoch.
            seed: the pipeline's seed.
            stage: name of the stage; stages with one seed see different orders.

        Raises:
            DataError: a task of the mixture has no records, or a share that is no place of an epoch.
        """
        for task in weights:
            if not sizes.get(task):
                raise DataError(f"{stage}.mixture names {task}, but the shards have no such training record")
        self._sizes = dict(sizes)
        self._samples = dict(samples)
        self._tasks = sorted(weights)
        self._epoch_size = epoch_size
        self._seeds = (seed, zlib.crc32(stage.encode()))
        self._quotas = quotas({task: weights[task] for task in self._tasks}, epoch_size)
        if nothing := [task for task, places in self._quotas.items() if not places]:
            raise DataError(
                f"{stage}.mixture: the share of {some(nothing)} is none of an epoch's {epoch_size} places; raise the "
                "weight, or take the entry out"
            )
        # Caches on the instance: two orders must not share, or keep alive, one another's.
        self._epoch = lru_cache(maxsize=2)(self._compute_epoch)
        self._pass = lru_cache(maxsize=2 * len(self._tasks))(self._compute_pass)

    @property
    def quotas(self) -> dict[str, int]:
        """Places of each task in an epoch."""
        return dict(self._quotas)

    def draws(self, k: int) -> list[Draw]:
        """The samples of the k-th place of the stage, counted from 0."""
        epoch, place = divmod(k, self._epoch_size)
        slots, templates = self._epoch(epoch)
        slot = int(slots[place])
        for task in self._tasks:
            if slot < self._quotas[task]:
                break
            slot -= self._quotas[task]
        count = self._samples[task]
        first = (epoch * self._quotas[task] + slot) * count
        drawn = []
        for i in range(count):
            turn, index = divmod(first + i, self._sizes[task])
            drawn.append(Draw(task, int(self._pass(task, turn)[index]), int(templates[place]) + i))
        return drawn

    def _compute_epoch(self, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        rng = np.random.default_rng([*self._seeds, 0, epoch])
        return rng.permutation(self._epoch_size), rng.integers(0, 2**31, self._epoch_size)

    def _compute_pass(self, task: str, turn: int) -> NDArray[np.int64]:
        rng = np.random.default_rng([*self._seeds, 1, zlib.crc32(task.encode()), turn])
        return rng.permutation(self._sizes[task])


def quotas(weights: Mapping[str, float], total: int) -> dict[str, int]:
    """Shares of ``total`` in proportion to the weights, whole and exact in sum (largest remainder)."""
    scale = total / sum(weights.values())
    shares = {task: int(weight * scale) for task, weight in weights.items()}
    by_remainder = sorted(weights, key=lambda task: (shares[task] - weights[task] * scale, task))
    for task in by_remainder[: total - sum(shares.values())]:
        shares[task] += 1
    return shares

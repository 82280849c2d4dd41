"""Which record is the k-th sample: computed from (seed, stage, k), never consumed from a stream, nor held in memory.

Resuming is therefore a seek, and the order does not depend on workers, prefetch or what ran before.

A shuffled pass over n records is a keyed bijection of [0, n): a Feistel network on the smallest 2^b >= n numbers, whose
round function is the finaliser of SplitMix64 (Steele, Lea, Flood 2014); what falls outside [0, n) goes through it
again ("cycle walking": Black, Rogaway, "Ciphers with arbitrary finite domains", 2002). Keys are BLAKE2b of what names
the draw. All of it is whole numbers: every machine has the same order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tinygptv.ground.errors import DataError
from tinygptv.ground.tables import some

ROUNDS = 8
"""Of the Feistel network, one for each 64 bits of a BLAKE2b digest."""
SMALLEST = 6
"""Bits of the smallest network: narrower ones do not reach all orders of a handful of records alike."""
CHUNK = 1024
"""Places that are computed at once: numpy needs as long for a thousand as for ten."""

_GOLDEN, _MIX = np.uint64(0x9E3779B97F4A7C15), (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
_SHIFTS = np.uint64(30), np.uint64(27), np.uint64(31)
_TOP_31 = np.uint64(33)

Words = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Draw:
    """One sample: an entry of the mixture, the number of a record among the entry's, and two that pick its texts."""

    entry: str
    record: int
    template: int
    """Picks the instruction; counted round."""
    answer: int
    """64 random bits, which pick among accepted answers, and among the wordings of a question."""

    def fraction(self, number: int) -> float:
        """The numbers in [0, 1) of a sample, counted from 0: each turn of the record has some of its own."""
        start, place = np.array([[self.answer], [number]], np.uint64)
        bits = _mixed(start + place * _GOLDEN)
        return int(bits[0] >> np.uint64(11)) / 2**53


class _Chunk(NamedTuple):
    """The samples of ``CHUNK`` places, place by place."""

    first: NDArray[np.int64]
    """Number of each place's first sample, and of the one after the last [CHUNK + 1]."""
    entry: NDArray[np.int64]
    record: NDArray[np.int64]
    template: NDArray[np.int64]
    answer: Words


class SampleOrder:
    """A ratio-weighted mixture, epoch by epoch.

    An epoch holds a fixed number of places. Every entry has its exact share of them (largest remainder), placed anew
    each epoch, and goes through all its records in a fresh order before one comes again. A place takes one sample, or
    several of its entry.
    """

    def __init__(
        self,
        sizes: Mapping[str, int],
        weights: Mapping[str, float],
        samples: Mapping[str, int],
        epoch_size: int,
        seed: int,
        stage: str,
    ) -> None:
        """Plan the mixture.

        Args:
            sizes: entry to its count of records, up to 2^40.
            weights: entry to its weight in the mixture.
            samples: entry to the samples that one of its places takes.
            epoch_size: places of an epoch.
            seed: the pipeline's seed.
            stage: name of the stage; stages with one seed see different orders.

        Raises:
            DataError: an entry of the mixture has no records, or a share that is no place of an epoch.
        """
        for entry in weights:
            if not sizes.get(entry):
                raise DataError(f"{stage}.mixture names {entry}, but the shards have no such training record")
        self._entries = sorted(weights)
        self._sizes = dict(sizes)
        self._samples = dict(samples)
        self._epoch_size = epoch_size
        self._name = seed, stage
        self._quotas = quotas({entry: weights[entry] for entry in self._entries}, epoch_size)
        if nothing := [entry for entry, places in self._quotas.items() if not places]:
            raise DataError(
                f"{stage}.mixture: the share of {some(nothing)} is none of an epoch's {epoch_size} places; raise the "
                "weight, or take the entry out"
            )
        # A cache on the instance: two orders must not share, or keep alive, one another's.
        self._chunk = lru_cache(maxsize=2)(self._compute_chunk)

    @property
    def quotas(self) -> dict[str, int]:
        """Places of each entry in an epoch."""
        return dict(self._quotas)

    def draws(self, k: int) -> list[Draw]:
        """The samples of the k-th place of the stage, counted from 0."""
        number, place = divmod(k, CHUNK)
        chunk = self._chunk(number)
        return [
            Draw(
                self._entries[int(chunk.entry[place])],
                int(chunk.record[i]),
                int(chunk.template[i]),
                int(chunk.answer[i]),
            )
            for i in range(chunk.first[place], chunk.first[place + 1])
        ]

    def _compute_chunk(self, number: int) -> _Chunk:
        places = np.arange(number * CHUNK, (number + 1) * CHUNK)
        epochs = places // self._epoch_size
        slots = permuted(places % self._epoch_size, self._epoch_size, epochs, (*self._name, "places"))
        ends = np.cumsum([self._quotas[entry] for entry in self._entries])
        entries = np.searchsorted(ends, slots, side="right")
        counts = np.array([self._samples[entry] for entry in self._entries])[entries]
        first = np.concatenate(([0], np.cumsum(counts)))
        within = np.arange(first[-1]) - np.repeat(first[:-1], counts)  # 0, 1, … of the samples of a place
        records = np.empty(first[-1], np.int64)
        for i, entry in enumerate(self._entries):
            quota, size = self._quotas[entry], self._sizes[entry]
            here = np.repeat(entries == i, counts)
            turn = (epochs * quota + slots - (ends[i] - quota)) * self._samples[entry]  # of the entry's samples so far
            passes, index = np.divmod(np.repeat(turn, counts)[here] + within[here], size)
            records[here] = permuted(index, size, passes, (*self._name, "pass", entry))
        start = np.repeat(_hashed(places, (*self._name, "texts")), counts)
        return _Chunk(
            first=first,
            entry=entries,
            record=records,
            template=(start >> _TOP_31).astype(np.int64) + within,
            answer=_mixed(start + within.astype(np.uint64) * _GOLDEN),
        )


def permuted(
    index: NDArray[np.int64], size: int, turns: NDArray[np.int64], name: Sequence[str | int]
) -> NDArray[np.int64]:
    """Where shuffles of [0, size) put some of its numbers, each by the shuffle of its turn.

    Args:
        index: numbers in [0, size) [N].
        size: 1 to 2^40.
        turns: which shuffle: every turn of a name has one of its own [N].
        name: what is shuffled.

    Returns:
        Numbers in [0, size) [N]; within a turn, different numbers have different places.
    """
    bits = max(SMALLEST, (size - 1).bit_length())
    low = np.uint64(bits // 2)
    masks = np.uint64(2 ** (bits - bits // 2) - 1), np.uint64(2 ** (bits // 2) - 1)
    different, which = np.unique(turns, return_inverse=True)
    keys_NR = np.array([_keys((*name, int(turn))) for turn in different], np.uint64).reshape(-1, ROUNDS)[which]
    found = index.astype(np.uint64)
    walking = np.arange(len(found))
    while len(walking):
        halves = [found[walking] >> low, found[walking] & masks[1]]
        for r in range(ROUNDS):
            halves[r % 2] ^= _mixed(halves[1 - r % 2] + keys_NR[walking, r]) & masks[r % 2]
        found[walking] = halves[0] << low | halves[1]
        walking = walking[found[walking] >= size]
    return found.astype(np.int64)


def seed_of(name: Sequence[str | int]) -> int:
    """The seed of a generator that draws what has this name, and nothing else: 63 bits."""
    return int(_keys(name)[0]) >> 1


def _keys(name: Sequence[str | int]) -> Words:
    """64 bits for each round of a network, or for whatever else has this name."""
    return np.frombuffer(hashlib.blake2b("\0".join(map(str, name)).encode()).digest(), "<u8").astype(np.uint64)


def _hashed(numbers: NDArray[np.int64], name: Sequence[str | int]) -> Words:
    """64 random bits for each number: the outputs of SplitMix64 in their order, from a start that the name gives."""
    return _mixed(_keys(name)[:1] + (numbers.astype(np.uint64) + np.uint64(1)) * _GOLDEN)


def _mixed(words: Words) -> Words:
    """The finaliser of SplitMix64."""
    words = (words ^ words >> _SHIFTS[0]) * _MIX[0]
    words = (words ^ words >> _SHIFTS[1]) * _MIX[1]
    return words ^ words >> _SHIFTS[2]


def quotas(weights: Mapping[str, float], total: int) -> dict[str, int]:
    """Shares of ``total`` in proportion to the weights, whole and exact in sum (largest remainder)."""
    scale = total / sum(weights.values())
    shares = {entry: int(weight * scale) for entry, weight in weights.items()}
    by_remainder = sorted(weights, key=lambda entry: (shares[entry] - weights[entry] * scale, entry))
    for entry in by_remainder[: total - sum(shares.values())]:
        shares[entry] += 1
    return shares

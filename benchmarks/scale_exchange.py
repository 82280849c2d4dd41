"""What processes send one another in a step: sums in the order of the leaves, beside a plain all-reduce.

`training/sums.py` sends each process a slice of every node of the tree that another holds (all-to-all), and then each
slice of the total to all (all-gather, a ring). A plain all-reduce is a ring: a slice goes round twice. A ring that is
laid from machine to machine leaves each of them once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from scale_facts import GPUS_A_NODE, LINK_SHARE, MESSAGE_SECONDS, NODE_GBIT_A_SECOND, NVLINK_GB_A_SECOND

from tinygptv.ground.workers import Workers
from tinygptv.training.sums import nodes_of


@dataclass(frozen=True, slots=True)
class Links:
    """What connects the GPUs: in one direction, 10^9 bytes a second."""

    gpu_gb_a_second: float = NVLINK_GB_A_SECOND
    """Of each GPU to the others of its machine."""
    node_gb_a_second: float = NODE_GBIT_A_SECOND / 8
    """Of each machine to the others."""
    gpus_a_node: int = GPUS_A_NODE


@cache
def rounds(leaves: int, processes: int) -> int:
    """Nodes of the tree that the process with most of them holds."""
    shares = (Workers(rank, processes).share(leaves) for rank in range(processes))
    return max(len(nodes_of(held, leaves)) for held in shares)


@dataclass(frozen=True, slots=True)
class Exchange:
    """The gradients of a step, over processes that share its leaves."""

    gradient_bytes: float
    leaves: int
    processes: int

    @property
    def exact_bytes(self) -> float:
        """That a process sends in exact sums: its nodes in slices, and its slice of the total."""
        return (rounds(self.leaves, self.processes) + 1) * self.plain_bytes / 2

    @property
    def plain_bytes(self) -> float:
        """That a process sends in a ring."""
        return 2 * self.gradient_bytes * (self.processes - 1) / self.processes

    def exact_seconds(self, links: Links) -> float:
        """Of exact sums, after the backward pass."""
        here = min(self.processes, links.gpus_a_node)
        elsewhere = self.processes - here
        leaving = here * rounds(self.leaves, self.processes) * self.gradient_bytes * elsewhere / self.processes
        return self._seconds(links, self.exact_bytes, leaving + self._ring_leaving(links))

    def plain_seconds(self, links: Links) -> float:
        """Of a plain all-reduce, of which a library hides a part behind the backward pass."""
        return self._seconds(links, self.plain_bytes, 2 * self._ring_leaving(links))

    def by_machine_seconds(self, links: Links) -> float:
        """Of exact sums of which each machine first adds up its own leaves; nobody has built it."""
        machines = -(-self.processes // links.gpus_a_node)
        if machines == 1:
            return self.exact_seconds(links)
        return self._seconds(links, self.exact_bytes, Exchange(self.gradient_bytes, self.leaves, machines).exact_bytes)

    def _ring_leaving(self, links: Links) -> float:
        """Bytes of one way round a ring that leave a machine."""
        return self.plain_bytes / 2 if self.processes > links.gpus_a_node else 0.0

    def _seconds(self, links: Links, sent: float, leaving: float) -> float:
        between_gpus = sent / (links.gpu_gb_a_second * 1e9 * LINK_SHARE)
        between_machines = leaving / (links.node_gb_a_second * 1e9 * LINK_SHARE)
        return max(between_gpus, between_machines) + 2 * (self.processes - 1) * MESSAGE_SECONDS

"""Sums over the micro-batches of a step, with the same bits in any number of processes.

Micro-batches are the leaves of a binary tree: neighbours are added, then neighbours of these sums, and so on; an odd
one is passed up. So the order of all additions follows from the number of leaves alone. A process adds what it holds on
a stack of as many partial sums as that number has bits. Several processes hold the leaves of a range each, and with
that the sums of some nodes of the tree; they exchange these, slice by slice, and finish the tree in the order of the
leaves. A library's all-reduce would add in an order that the number of processes decides.

Source for the stack: pairwise summation with a binary counter, as in Higham, "Accuracy and Stability of Numerical
Algorithms", 2nd edition, section 4.1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:
    import torch

    from tinygptv.ground.workers import Workers

T = TypeVar("T")


class Node(NamedTuple):
    """A place in the tree: the leaves are level 0, and the sum of nodes 2i and 2i + 1 is node i of the next level."""

    level: int
    place: int


class TreeSum(Generic[T]):
    """A tree that is being added up: its leaves, or sums of nodes, are put in from left to right."""

    def __init__(self, leaves: int, add: Callable[[T, T], T]) -> None:
        """An empty tree.

        Args:
            leaves: of the whole tree, at least 1, whoever adds them.
            add: sum of two neighbours; it may change the left one.
        """
        self._leaves, self._add = leaves, add
        self.parts: list[tuple[Node, T]] = []
        """The nodes that are known and whose neighbours are not; in the end the root alone."""

    def put(self, node: Node, value: T) -> None:
        """Add the next node, and every sum that it makes whole."""
        while (width := self._width(node.level)) > 1:
            if node.place % 2 and self.parts and self.parts[-1][0] == (node.level, node.place - 1):
                value = self._add(self.parts.pop()[1], value)
            elif node.place % 2 or node.place + 1 < width:
                break  # its neighbour is another process's, or comes next
            node = Node(node.level + 1, node.place // 2)
        self.parts.append((node, value))

    @property
    def total(self) -> T:
        """The sum of all leaves."""
        assert [node for node, _ in self.parts] == [((self._leaves - 1).bit_length(), 0)], "a leaf is missing"
        return self.parts[0][1]

    def _width(self, level: int) -> int:
        """The nodes of a level."""
        return -(-self._leaves >> level)


def nodes_of(held: Sequence[int], leaves: int) -> list[Node]:
    """The nodes whose sums a process knows that holds some leaves: at most two for each bit of their number.

    Args:
        held: numbers of its leaves, which are neighbours, in their order.
        leaves: of the whole tree.
    """
    tree: TreeSum[None] = TreeSum(leaves, lambda *_: None)
    for leaf in held:
        tree.put(Node(0, leaf), None)
    return [node for node, _ in tree.parts]


@dataclass(slots=True)
class GradientSum:
    """What a node of the tree is the sum of."""

    loss: torch.Tensor
    """Float64, a scalar."""
    gradients: list[torch.Tensor]
    """Float32, a tensor for each trainable parameter."""

    def add(self, other: GradientSum) -> GradientSum:
        """The sum, in the place of this one."""
        import torch

        torch._foreach_add_(self.gradients, other.gradients)
        self.loss += other.loss
        return self


def over_processes(
    tree: TreeSum[GradientSum], leaves: int, like: Sequence[torch.Tensor], workers: Workers
) -> GradientSum:
    """The sum over the leaves of all processes, in every one of them.

    Each process adds a slice of all numbers and sends it to the others: where the processes are a power of two and the
    leaves a multiple of them, as many bytes move as in an all-reduce.

    Args:
        tree: with the leaves of this process; it is used up.
        leaves: of the whole tree.
        like: tensors of the gradients' shapes, on the device.
        workers: those who share the step.
    """
    import torch

    if workers.size == 1:
        return tree.total
    held = [nodes_of(workers.share(leaves, rank), leaves) for rank in range(workers.size)]
    mine, device = [part for _, part in tree.parts], like[0].device
    rounds = max(map(len, held))
    losses_R = torch.zeros(rounds, dtype=torch.float64, device=device)
    for number, part in enumerate(mine):
        losses_R[number] = part.loss
    losses_PR = workers.gather(losses_R)
    slice_size = -(-sum(tensor.numel() for tensor in like) // workers.size)
    slices: dict[Node, torch.Tensor] = {}
    for number in range(rounds):
        flat = _flat(mine[number].gradients, slice_size * workers.size) if number < len(mine) else None
        senders = [rank for rank, nodes in enumerate(held) if number < len(nodes)]
        received = workers.exchange(flat, senders, slice_size, device)
        slices |= {held[rank][number]: values for rank, values in zip(senders, received, strict=True)}
    whole: TreeSum[GradientSum] = TreeSum(leaves, GradientSum.add)
    for rank, nodes in enumerate(held):
        for number, node in enumerate(nodes):
            whole.put(node, GradientSum(losses_PR[rank, number].clone(), [slices.pop(node)]))
    flat = workers.gather(whole.total.gradients[0]).flatten()
    gradients = mine[0].gradients if mine else [torch.empty_like(tensor) for tensor in like]
    # Into tensors of their own: where in memory a tensor begins may decide in which order its norm is added.
    ends = torch.tensor([tensor.numel() for tensor in like]).cumsum(0).tolist()
    for gradient, end in zip(gradients, ends, strict=True):
        gradient.copy_(flat[end - gradient.numel() : end].view_as(gradient))
    return GradientSum(whole.total.loss, gradients)


def _flat(tensors: Sequence[torch.Tensor], size: int) -> torch.Tensor:
    """All numbers of some tensors in a row, and zeros up to a size."""
    import torch

    flat = tensors[0].new_zeros(size)
    torch.cat([tensor.flatten() for tensor in tensors], out=flat[: sum(tensor.numel() for tensor in tensors)])
    return flat

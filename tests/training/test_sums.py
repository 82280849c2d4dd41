"""Sums over micro-batches: one tree for any number of processes, and the bits that it gives."""

from __future__ import annotations

import hashlib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.groups import group
from tinygptv.ground.workers import ALONE, Workers
from tinygptv.training.sums import GradientSum, Node, TreeSum, nodes_of, over_processes


def tree_of(leaves: int, held: range | None = None) -> TreeSum[str]:
    """A tree that writes down its additions."""
    tree: TreeSum[str] = TreeSum(leaves, lambda left, right: f"({left}{right})")
    for leaf in range(leaves) if held is None else held:
        tree.put(Node(0, leaf), chr(ord("a") + leaf))
    return tree


@pytest.mark.parametrize(
    ("leaves", "additions"),
    [
        (1, "a"),
        (2, "(ab)"),
        (3, "((ab)c)"),
        (5, "(((ab)(cd))e)"),
        (6, "(((ab)(cd))(ef))"),
        (7, "(((ab)(cd))((ef)g))"),
        (8, "(((ab)(cd))((ef)(gh)))"),
    ],
)
def test_neighbours_are_added_and_an_odd_one_is_passed_up(leaves: int, additions: str) -> None:
    assert tree_of(leaves).total == additions


def test_a_missing_leaf_is_no_sum() -> None:
    with pytest.raises(AssertionError, match="a leaf is missing"):
        _ = tree_of(5, range(4)).total


@settings(deadline=None)
@given(st.integers(1, 70), st.integers(1, 90))
def test_any_number_of_processes_adds_alike(leaves: int, size: int) -> None:
    shares = [Workers(rank, size).share(leaves) for rank in range(size)]
    assert [leaf for share in shares for leaf in share] == list(range(leaves))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    whole: TreeSum[str] = TreeSum(leaves, lambda left, right: f"({left}{right})")
    for share in shares:
        found = tree_of(leaves, share).parts
        assert [node for node, _ in found] == nodes_of(share, leaves)
        assert len(found) <= max(1, 2 * (len(share).bit_length() - 1) + 1)
        for node, value in found:
            whole.put(node, value)
    assert whole.total == tree_of(leaves).total


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 40), st.integers(1, 9), st.integers(0, 2**32))
def test_the_sums_of_any_number_of_processes_have_the_same_bits(leaves: int, size: int, seed: int) -> None:
    numbers_LN = torch.randn(leaves, 50, generator=torch.Generator().manual_seed(seed))

    def total(size: int) -> torch.Tensor:
        whole: TreeSum[torch.Tensor] = TreeSum(leaves, torch.add)
        for rank in range(size):
            part: TreeSum[torch.Tensor] = TreeSum(leaves, torch.add)
            for leaf in Workers(rank, size).share(leaves):
                part.put(Node(0, leaf), numbers_LN[leaf])
            for node, value in part.parts:
                whole.put(node, value)
        return whole.total

    assert torch.equal(total(size), total(1))


@pytest.mark.parametrize("leaves", [1, 8, 1000])
def test_few_partial_sums_are_held_at_once(leaves: int) -> None:
    tree, most = tree_of(leaves, range(0)), 0
    for leaf in range(leaves):
        tree.put(Node(0, leaf), "")
        most = max(most, len(tree.parts))
    assert most == leaves.bit_length() if leaves & (leaves + 1) == 0 else most <= leaves.bit_length()


@pytest.mark.parametrize("leaves", [1, 5])
def test_every_process_has_the_sum_of_one(leaves: int) -> None:
    """Tensors of odd sizes, so that slices cut through them, and a spare process where there is one leaf."""
    source = torch.Generator().manual_seed(0)
    parts = [[torch.randn(shape, generator=source) for shape in ((3, 5), (1,), (7,))] for _ in range(leaves)]

    def bits(workers: Workers) -> str:
        tree: TreeSum[GradientSum] = TreeSum(leaves, GradientSum.add)
        for leaf in workers.share(leaves):
            tree.put(Node(0, leaf), GradientSum(parts[leaf][0].sum().double(), [part.clone() for part in parts[leaf]]))
        found = over_processes(tree, leaves, parts[0], workers)
        content = b"".join(tensor.numpy().tobytes() for tensor in (found.loss, *found.gradients))
        return hashlib.sha256(content).hexdigest()

    def run(_: int) -> int:
        print(bits(Workers.join()))
        return 0

    assert {ended.log.split()[-1] for ended in group(3, run)} == {bits(ALONE)}

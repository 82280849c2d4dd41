"""Compiled blocks without a compiler: what they keep, and what they hold while they run.

torch's compiler traces forward and backward pass of a block together, and decides which results go from one to the
other and which are computed again. It is asked for that, with its own rules; the two graphs that come out are not made
into kernels. Elementwise operations and sums become parts of kernels, so that of their results only those take memory
that a matrix product, an attention or the graph's end reads.

Sources: ``torch/_inductor/compile_fx.py``; ``min_cut_rematerialization_partition`` of
``torch/_functorch/partitioners.py``.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx

from tinygptv.planning.live import LiveBytes

KERNELS = ("mm", "addmm", "bmm", "baddbmm", "_scaled_dot_product")
"""How the names of operations begin that are kernels of their own."""
FUSED = ("aten", "prims")
"""Namespaces of operations that the compiler makes kernels of; those of other namespaces are called as they are."""
SHAPED = ("view", "_unsafe_view", "reshape", "permute", "t", "transpose", "expand", "unsqueeze", "squeeze")
PARTS = ("slice", "select", "split", "split_with_sizes", "unbind", "alias", "detach", "as_strided")
VIEWS = frozenset((*SHAPED, *PARTS))
"""Operations whose results lie in the storage of what they are given."""


def backend(live: LiveBytes, owned: set[int]) -> Callable[..., Any]:
    """A backend of ``torch.compile`` whose code makes no numbers and tells what memory it takes.

    Args:
        live: told of each run.
        owned: keys of the storages of the model's own tensors, which no run frees.
    """
    from torch._inductor.compile_fx import compile_fx

    def made(
        graph: fx.GraphModule, inputs: Sequence[Any], *, is_backward: bool = False, **_: Any
    ) -> Callable[..., Any]:
        planned = Planned(graph, live)

        def run(arguments: list[Any]) -> list[Any]:
            mine = [
                is_backward and isinstance(value, torch.Tensor) and value.untyped_storage()._cdata not in owned
                for value in arguments
            ]
            live.reached(live.now + planned.most(mine))
            with live.unwatched():
                results = planned.results(arguments)
            arguments.clear()
            live.count(result for result in results if isinstance(result, torch.Tensor))
            return results

        run._boxed_call = True  # type: ignore[attr-defined]
        return run

    return lambda graph, inputs: compile_fx(graph, inputs, inner_compile=made)  # type: ignore[arg-type]


@dataclass
class Planned:
    """A graph as the compiler plans its memory."""

    graph: fx.GraphModule
    live: LiveBytes
    _found: dict[tuple[bool, ...], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.nodes = list(self.graph.graph.nodes)
        self.inputs = [node for node in self.nodes if node.op == "placeholder"]
        self.end = self.nodes[-1]
        held = set(self.inputs) | {_storage(node) for node in self.end.all_input_nodes}
        for node in filter(_is_kernel, self.nodes):
            held |= {node, *map(_storage, node.all_input_nodes)}
        self.held = held
        """Nodes whose results take memory."""
        reads: dict[fx.Node, set[fx.Node]] = {}
        for node in self.nodes:
            sources = {_storage(source) for source in node.all_input_nodes}
            reads[node] = set().union(*({source} if source in held else reads[source] for source in sources))
        self.last: dict[fx.Node, int] = {}
        """Held node → where it is read last."""
        for place, node in enumerate(self.nodes):
            if node in held or node is self.end:
                self.last.update(dict.fromkeys(reads[node], place))

    def most(self, mine: Sequence[bool]) -> int:
        """The most bytes that a run takes beyond what is there when it begins.

        Args:
            mine: of each input, whether nobody else has it, so that it goes after its last use.
        """
        key = tuple(mine)
        if key not in self._found:
            self._found[key] = self._most({node for node, own in zip(self.inputs, mine, strict=True) if own})
        return self._found[key]

    def _most(self, mine: set[fx.Node]) -> int:
        now = most = 0
        left: dict[int, int] = {}
        for node, place in self.last.items():
            if node.op != "placeholder" or node in mine:
                left[place] = left.get(place, 0) + self._size(node)
        for place, node in enumerate(self.nodes[:-1]):
            if node in self.held and node.op != "placeholder":
                now += self._size(node)
            most = max(most, now)
            now -= left.get(place, 0)
        return most

    def _size(self, node: fx.Node) -> int:
        found = node.meta.get("val")
        parts = found if isinstance(found, (tuple, list)) else (found,)
        if node.target is operator.getitem:  # its kernel has been counted with all that it gives
            return 0
        return sum(
            self.live.rounded(int(part.numel()) * part.element_size())
            for part in parts
            if isinstance(part, torch.Tensor) and part.device.type != "meta"
        )

    def results(self, arguments: Sequence[Any]) -> list[Any]:
        """What the graph gives, without numbers; views of one storage stay that."""
        stored: dict[fx.Node, Any] = dict(zip(self.inputs, arguments, strict=True))
        made: list[Any] = []
        for node in self.end.args[0]:
            value = node.meta["val"] if isinstance(node, fx.Node) else node
            if isinstance(node, fx.Node) and isinstance(value, torch.Tensor):
                base = _storage(node)
                if base not in stored:
                    whole = base.meta["val"]
                    stored[base] = torch.empty_strided(_plain(whole.shape), _plain(whole.stride()), dtype=whole.dtype)
                if base is not node:
                    place = _plain(value.shape), _plain(value.stride()), int(value.storage_offset())
                    made.append(stored[base].as_strided(*place))
                    continue
            made.append(stored.get(node, value) if isinstance(node, fx.Node) else value)
        return made


def _plain(sizes: Sequence[int]) -> list[int]:
    """Sizes as numbers: that of a random generator's state is a symbol."""
    return [int(size) for size in sizes]


def _name(node: fx.Node) -> tuple[str, str]:
    """Namespace and name of a node's operation."""
    target = node.target
    if isinstance(target, torch._ops.OpOverload):
        return target.namespace, target._opname
    return ("higher order", target._name) if isinstance(target, torch._ops.HigherOrderOperator) else ("", "")


def _is_kernel(node: fx.Node) -> bool:
    namespace, name = _name(node)
    return bool(namespace) and (namespace not in FUSED or name.startswith(KERNELS))


def _storage(node: fx.Node) -> fx.Node:
    """The node whose storage a node's result lies in."""
    while node.op == "call_function":
        source: fx.Node = node.args[0] if node.target is operator.getitem else node  # type: ignore[assignment]
        if not (_name(source)[0] == "aten" and _name(source)[1] in VIEWS):
            break
        node = source.args[0]  # type: ignore[assignment]
    return node

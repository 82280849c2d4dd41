"""How many bytes the tensors of a computation take together, at every moment of it.

Every operation's results are counted when they are made, and no longer when the last reference to their storage is
gone. That is what an allocator gives out; the gaps that it leaves are not counted.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCK = {"cuda": 512, "cpu": 1}
"""Kind of a device → the bytes of which torch's allocator gives out multiples."""


class LiveBytes(TorchDispatchMode):
    """Counts storages, each once; a context within which operations are watched. Tensors may be fake."""

    def __init__(self, kind: str) -> None:
        """``kind`` of a device: its allocator rounds."""
        super().__init__()
        self.block = BLOCK[kind]
        self.now = self.peak = 0
        """Bytes."""
        self._known: dict[int, weakref.ref[Any]] = {}
        self._watching = True

    @classmethod
    def is_infra_mode(cls) -> bool:
        """Compiled code runs under it: torch lets it do so under no other mode."""
        return True

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """One operation."""
        results = func(*args, **(kwargs or {}))
        if self._watching:
            self.count(tensor for tensor in tree_leaves(results) if isinstance(tensor, torch.Tensor))
        return results

    def count(self, tensors: Iterable[torch.Tensor]) -> None:
        """Count what is new among these."""
        for tensor in tensors:
            storage = tensor.untyped_storage()
            known = self._known.get(storage._cdata)
            if tensor.device.type == "meta" or (known is not None and known() is storage):
                continue
            size = self.rounded(storage.nbytes())
            self._known[storage._cdata] = weakref.ref(storage, self._gone(storage._cdata, size))
            self.now += size
        self.reached(self.now)

    def reached(self, size: int) -> None:
        """So many bytes were there for a moment."""
        self.peak = max(self.peak, size)

    def rounded(self, size: int) -> int:
        """What the allocator takes for a storage of so many bytes."""
        return -(-size // self.block) * self.block

    @contextmanager
    def unwatched(self) -> Iterator[None]:
        """A part whose results are counted by ``count`` alone."""
        self._watching = False
        try:
            yield
        finally:
            self._watching = True

    def _gone(self, key: int, size: int) -> Callable[[weakref.ref[Any]], None]:
        def leave(reference: weakref.ref[Any]) -> None:
            self.now -= size
            if self._known.get(key) is reference:
                del self._known[key]

        return leave

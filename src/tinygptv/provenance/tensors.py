"""The first differing tensor of two safetensors files. Bits are compared, so that -0 is not 0 and NaN is NaN."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinygptv.provenance.values import value_difference
from tinygptv.provenance.words import MISSING, DamagedError, Names, pair

if TYPE_CHECKING:
    import torch


def tensor_difference(first: Path, second: Path, names: Names) -> str | None:
    """The first differing tensor by name, and how many others differ; None where names and values are equal.

    Raises:
        DamagedError: one of the files is cut off or not safetensors.
    """
    left, right = (_open(path, name) for path, name in zip((first, second), names, strict=True))
    ours, theirs = set(left.keys()), set(right.keys())
    found: list[str] = []
    for name in sorted(ours | theirs):
        forms = [_form(file, name) if name in there else MISSING for file, there in ((left, ours), (right, theirs))]
        if forms[0] != forms[1]:
            found.append(f"tensor {name}: {pair(forms, names)}")
        elif (words := _values(left.get_tensor(name), right.get_tensor(name), names)) is not None:
            found.append(f"tensor {name} ({forms[0]}): {words}")
    if not found:
        metadata = value_difference(left.metadata() or {}, right.metadata() or {}, names)
        return f"metadata {metadata}" if metadata is not None else None
    others = len(found) - 1
    return found[0] + (f"; {others} other tensor{'s differ' if others > 1 else ' differs'}" if others else "")


def _open(path: Path, name: str) -> Any:
    from safetensors import SafetensorError, safe_open

    try:
        return safe_open(path, framework="pt")
    except SafetensorError as error:
        raise DamagedError(f"it cannot be read as safetensors ({name}): {error}") from None


def _form(file: Any, name: str) -> str:
    """Number format and shape, such as ``F32 [4, 8]``."""
    part = file.get_slice(name)
    return f"{part.get_dtype()} {part.get_shape()}"


def _values(first: torch.Tensor, second: torch.Tensor, names: Names) -> str | None:
    """How many values of two tensors of equal form differ, where first, and by how much at most."""
    import torch

    differs_N = _bits(first) != _bits(second)
    count = int(differs_N.sum())
    if not count:
        return None
    place = int(differs_N.int().argmax())
    index = [int(part) for part in torch.unravel_index(torch.tensor(place), first.shape)] if first.ndim else []
    one_N, other_N = (tensor.reshape(-1)[differs_N].to(torch.float64) for tensor in (first, second))
    largest = (one_N - other_N).abs().max().item()
    values = pair((f"{tensor.reshape(-1)[place].item():.9g}" for tensor in (first, second)), names)
    return f"{count} of {first.numel()} values differ, first at {index}: {values}; largest difference {largest:.6g}"


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    """The values of a tensor in a row, as whole numbers with the same bits."""
    import torch

    whole = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    return tensor.contiguous().reshape(-1).view(whole[tensor.element_size()])

"""Every tensor is accounted for: what is missing, unknown or of another shape stops an import, in one line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from tinygptv.ground.errors import CheckpointError

if TYPE_CHECKING:
    import torch

SHOWN = 5
"""Names of a kind that the line gives before it counts the others."""


def refuse(
    origin: str, *, missing: Iterable[str] = (), unknown: Iterable[str] = (), misshapen: Iterable[str] = ()
) -> None:
    """Stop if anything is named.

    Raises:
        CheckpointError: one line with the first names and the counts.
    """
    kinds = {"missing": list(missing), "unknown": list(unknown), "of another shape": list(misshapen)}
    listed = []
    for kind, found in kinds.items():
        if found:
            more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
            listed.append(f"{len(found)} {kind}: {', '.join(sorted(found)[:SHOWN])}{more}")
    if listed:
        raise CheckpointError(f"{origin} does not fit ({'; '.join(listed)}); it is incomplete or of another model")


def check(
    origin: str,
    tensors: Mapping[str, torch.Tensor],
    expected: Mapping[str, torch.Tensor],
    theirs: Callable[[str], str],
) -> None:
    """Compare names, shapes and formats with those of a module's state.

    Args:
        origin: the file, for the message.
        tensors: by the module's names.
        expected: the module's state, which may be without memory (on torch's ``meta`` device).
        theirs: the module's name of a tensor to that of the file.

    Raises:
        CheckpointError: lists what differs.
    """
    refuse(
        origin,
        missing=[theirs(name) for name in expected.keys() - tensors.keys()],
        unknown=[theirs(name) for name in tensors.keys() - expected.keys()],
        misshapen=[
            line
            for name in expected.keys() & tensors.keys()
            if (line := differs(theirs(name), tensors[name], tuple(expected[name].shape)))
        ],
    )


def differs(name: str, tensor: torch.Tensor, shape: tuple[int, ...]) -> str:
    """What is wrong with a tensor's form; empty if nothing is."""
    if tuple(tensor.shape) != shape:
        return f"{name} {tuple(tensor.shape)} for {shape}"
    return "" if tensor.is_floating_point() else f"{name} {tensor.dtype} for a floating format"


def origin_of(tensors: Mapping[str, Any], part: str) -> str:
    """What a message calls a source of tensors."""
    return str(getattr(tensors, "path", f"the {part} file"))


def gather(origin: str, mapped: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Our names to the tensors of theirs that make them, by part; the part of a whole tensor is ``""``.

    Raises:
        CheckpointError: two of theirs would become the same tensor.
    """
    gathered: dict[str, dict[str, str]] = {}
    for theirs, ours in mapped.items():
        target, _, part = ours.partition("#")
        parts = gathered.setdefault(target, {})
        if part in parts or (parts and "" in (part, *parts)):
            other = next(iter(parts.values()))
            raise CheckpointError(f"{origin} holds the same tensor twice, as {other} and {theirs}")
        parts[part] = theirs
    return gathered

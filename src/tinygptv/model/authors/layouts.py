"""The order of rows in a fused matrix of queries, keys and values, told by names or by the caller, and changed.

  interleaved   one matrix, [head, (q, k, v), channel]: the authors' files and transformers 4.36; ours too
  thirds        one matrix, [(q, k, v), head, channel]: Microsoft's own files
  separate      three matrices: transformers from 4.37 on

Taking one for another gives a model that loads and talks nonsense, so that a layout is never guessed.

Source: the authors' ``modeling_phi.py`` (PhiAttention), transformers' ``convert_phi_weights_to_hf.py``.
Shapes: H heads, C channels of a head, D width (absent for a bias).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal, get_args

import torch

from tinygptv.ground.errors import CheckpointError
from tinygptv.model.authors import names
from tinygptv.model.authors.accounts import refuse

if TYPE_CHECKING:
    from tinygptv.model.language.interface import PublishedFiles

Layout = Literal["interleaved", "thirds", "separate"]


def is_fused(name: str, files: PublishedFiles) -> bool:
    """Whether a name of ours is that of the matrix of queries, keys and values, its bias or a part of them."""
    return files.fused is not None and f".{files.fused}." in name


def settle(origin: str, mapped: Iterable[str], given: str | None, files: PublishedFiles) -> Layout:
    """The layout of a file.

    Args:
        origin: the file, for messages.
        mapped: its names of tensors.
        given: what the caller says; it decides between the two fused layouts.
        files: how files name the architecture's tensors.

    Raises:
        CheckpointError: the names do not tell, tell two layouts, or contradict what is given.
    """
    if given is not None and given not in get_args(Layout):
        raise CheckpointError(f"layout {given!r} is none of {', '.join(get_args(Layout))}")
    if files.fused is None:
        if given not in (None, "separate"):
            raise CheckpointError(f"layout {given!r}: the matrices of {files.model} are not fused")
        return "separate"
    told: dict[Layout | None, str] = {}
    for name in mapped:
        for layout, rules in (*files.layouts.items(), (None, files.ambiguous)):
            target = names.translate(name, rules)
            if target is not None and is_fused(target, files) and ("#" in target) == (layout == "separate"):
                told.setdefault(layout, name)  # type: ignore[arg-type]
    if not told:
        raise CheckpointError(f"{origin} holds no matrix of queries, keys and values; it is of another model")
    if len(told) > 1:
        raise CheckpointError(f"{origin} mixes layouts of queries, keys and values ({', '.join(told.values())})")
    layout, example = next(iter(told.items()))
    if given is not None and (given == "separate") != (layout == "separate"):
        raise CheckpointError(f"{origin}: layout {given!r} cannot be that of {example}")
    if given is not None:
        return given  # type: ignore[return-value]
    if layout is None:
        raise CheckpointError(
            f"{origin}: {example} does not tell the order of its rows; say layout='interleaved' "
            "([head, (q, k, v), channel]) or layout='thirds' ([(q, k, v), head, channel])"
        )
    return layout


def from_thirds(tensor: torch.Tensor, heads: int) -> torch.Tensor:
    """[(3 H C), D] -> [(H 3 C), D]; what cannot be split so is left for the check of shapes."""
    if tensor.ndim < 1 or tensor.shape[0] % (3 * heads):
        return tensor
    return tensor.unflatten(0, (3, heads, -1)).transpose(0, 1).flatten(0, 2)


def from_separate(origin: str, parts: dict[str, tuple[str, torch.Tensor]], heads: int) -> torch.Tensor:
    """Three [(H C), D] -> [(H 3 C), D].

    Args:
        origin: the file, for messages.
        parts: name and tensor of ``q``, ``k`` and ``v``.
        heads: attention heads.

    Raises:
        CheckpointError: one is missing or has another shape than the others.
    """
    name, first = parts.get("q", next(iter(parts.values())))
    refuse(origin, missing=[name.replace("q_proj", f"{part}_proj") for part in names.PARTS if part not in parts])
    shapes = {n: tuple(t.shape) for n, t in parts.values()}
    refuse(origin, misshapen=[f"{n} {shape}" for n, shape in shapes.items() if shape != tuple(first.shape)])
    if first.ndim < 1 or first.shape[0] % heads:
        return first
    split = [parts[part][1].unflatten(0, (heads, -1)) for part in names.PARTS]  # (HC)D -> HCD
    return torch.stack(split, dim=1).flatten(0, 2)  # H3CD -> (H3C)D

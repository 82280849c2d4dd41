"""Cached Q-Former outputs: one safetensors member per image in WebDataset tars, read by offset.

Shapes: Q queries, D width.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tinygptv.data.shards import tar_index, write_members
from tinygptv.data.summary import tars
from tinygptv.ground.errors import DataError

if TYPE_CHECKING:
    import torch

EXTENSION = "safetensors"
TENSOR = "query_QD"


def write_features(path: Path, features: Iterable[tuple[str, torch.Tensor]]) -> None:
    """Write one shard.

    Args:
        path: the tar to write.
        features: pairs of an image's key and its Q-Former outputs [Q, D].
    """
    from safetensors.torch import save

    write_members(path, ((key, {EXTENSION: save({TENSOR: query_QD.contiguous()})}) for key, query_QD in features))


class FeatureReader:
    """Random access to the features of a resolution."""

    def __init__(self, folder: Path) -> None:
        """Index the tars of a folder, such as ``data/tiny/features/64``.

        Raises:
            DataError: there is none, or one is damaged, missing or not listed.
        """
        paths = tars(folder)
        if not paths:
            raise DataError(f"{folder} holds no feature shards; run `dvc repro features`")
        self._places: dict[str, tuple[Path, int, int]] = {}
        self._handles: dict[Path, int] = {}
        for path in paths:
            for member, (offset, size) in tar_index(path, frozenset({EXTENSION})).items():
                self._places[member.removesuffix(f".{EXTENSION}")] = (path, offset, size)
            self._handles[path] = os.open(path, os.O_RDONLY)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def read(self, key: str) -> torch.Tensor:
        """Q-Former outputs [Q, D] of an image.

        Raises:
            DataError: the image has none, or its bytes are damaged.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load

        if key not in self._places:
            raise DataError(f"no features of image {key}; run `dvc repro features`")
        path, offset, size = self._places[key]
        try:
            return load(os.pread(self._handles[path], size, offset))[TENSOR]
        except (SafetensorError, KeyError) as error:
            raise DataError(
                f"{path}: member {key}.{EXTENSION} is damaged ({error}); run `dvc repro features`"
            ) from None

    def batch(self, keys: Sequence[str]) -> torch.Tensor:
        """Features of several images, stacked [B, Q, D]."""
        import torch

        return torch.stack([self.read(key) for key in keys])

    def close(self) -> None:
        """Close the tars."""
        for handle in self._handles.values():
            os.close(handle)
        self._handles.clear()

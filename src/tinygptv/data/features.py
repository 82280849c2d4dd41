"""Cached Q-Former outputs: one safetensors member per image in WebDataset tars, read by offset.

Shapes: Q queries, D width.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinygptv.data.shards import write_members
from tinygptv.data.summary import tars
from tinygptv.data.tar_index import tar_index
from tinygptv.ground.errors import DataError
from tinygptv.ground.files import canonical, read_json, sha256_file, write_json

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


class FinishedShards:
    """Feature tars that are done and wait in the step's state until all are.

    What they were made from is on record beside them: of anything else than the same inputs they are made again, and so
    is a tar that changed since.
    """

    def __init__(self, state: Path, decides: Mapping[str, Any]) -> None:
        """Look at what an earlier start of the step has left.

        Args:
            state: the step's folder that survives a kill.
            decides: all that decides the features of an image, as JSON.
        """
        self._state, self._path = state, state / "finished.json"
        known = read_json(self._path) if self._path.is_file() else {}
        wanted = json.loads(canonical(decides))
        if known.get("decides") != wanted:
            shutil.rmtree(state)
            state.mkdir()
            known = {"decides": wanted, "shards": {}}
        self._known = known

    def folder(self, size: int) -> Path:
        """Where the tars of a resolution are."""
        return self._state / str(size)

    def has(self, name: str, shard: str) -> bool:
        """Whether the features of the shard of that name and SHA-256 are there."""
        entry = self._known["shards"].get(name)
        if entry is None or entry["shard"] != shard:
            return False
        paths = {self.folder(int(size)) / name: digest for size, digest in entry["tars"].items()}
        return all(path.is_file() and sha256_file(path) == digest for path, digest in paths.items())

    def add(self, name: str, shard: str, rows: Mapping[int, Sequence[tuple[str, torch.Tensor]]]) -> None:
        """Keep the features of a shard: by resolution, pairs of an image's key and its Q-Former outputs [Q, D]."""
        digests = {}
        for size, features in rows.items():
            self.folder(size).mkdir(exist_ok=True)
            write_features(self.folder(size) / name, features)
            digests[str(size)] = sha256_file(self.folder(size) / name)
        images = len(next(iter(rows.values())))
        self._known["shards"][name] = {"shard": shard, "images": images, "tars": digests}
        write_json(self._path, self._known)

    def images(self, name: str) -> int:
        """How many images a shard has."""
        return int(self._known["shards"][name]["images"])

    def digest(self, name: str, size: int) -> str:
        """SHA-256 of a shard's features at a resolution."""
        return str(self._known["shards"][name]["tars"][str(size)])


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

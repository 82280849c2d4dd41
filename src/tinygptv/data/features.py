"""Cached Q-Former outputs: a row for each image of a tar of the shards, in one safetensors file that is read by row.

``features/<image size>/<set>/train-000000.safetensors`` belongs to the tar of that name. Which files a stage uses,
and what they were made of, its view says (``features/views/stage1.json``).

Shapes: N images, Q queries, D width.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinygptv.data.index import block_name
from tinygptv.data.summary import mend
from tinygptv.ground.errors import DataError, true_cause
from tinygptv.ground.file_names import IMAGE_ENCODER, view_of
from tinygptv.ground.files import needing, read_json, write_json

if TYPE_CHECKING:
    import torch

    from tinygptv.data.index import ImagePlace

ROWS, IMAGES, CHECKS = "query_NQD", "image_sha256", "crc32"
"""Tensors of a block: the rows [N, Q, D]; their images' SHA-256 [N, 32], sorted; CRC-32 of each row's bytes [N]."""
MADE_OF = "made_of"
"""The one key of a block's header (safetensors writes several in any order); JSON: ``tar`` and ``image_encoder``."""
SUFFIX = ".safetensors"
VIEWED = {"train": "sets", "val": "held_out"}
"""What a view calls the blocks of a split; those of the held-out part are there where a stage looks at it."""
OPEN_BLOCKS = 64
"""Blocks that a reader keeps open; a stage reads them in no order."""


def write_block(path: Path, rows: Mapping[bytes, torch.Tensor], empty: torch.Tensor, *, tar: str, encoder: str) -> None:
    """Write the features of a tar; equal content is equal bytes.

    Args:
        path: the file; its folder must exist.
        rows: SHA-256 of an image to its Q-Former outputs [Q, D].
        empty: no row [0, Q, D], in the number format of all of them: a tar may hold text alone.
        tar: SHA-256 of the tar.
        encoder: SHA-256 of the image encoder's file.
    """
    import numpy as np
    import torch
    from safetensors.torch import save_file

    images = sorted(rows)
    digests = np.frombuffer(b"".join(images), dtype=np.uint8).reshape(len(images), 32)
    checks = np.array([_check(rows[image]) for image in images], dtype=np.uint32)
    tensors = {
        ROWS: torch.stack([rows[image] for image in images]) if images else empty,
        IMAGES: torch.from_numpy(digests.copy()),
        CHECKS: torch.from_numpy(checks),
    }
    made_of = json.dumps({"tar": tar, "image_encoder": encoder}, sort_keys=True)
    with needing(path, sum(tensor.nbytes for tensor in tensors.values())):
        save_file(tensors, path, metadata={MADE_OF: made_of})


def write_view(
    features: Path,
    stage: str,
    image_size: int,
    encoder: str,
    sets: Mapping[str, Mapping[int, Mapping[str, Any]]],
    held_out: Mapping[str, Mapping[int, Mapping[str, Any]]],
) -> None:
    """Say what a stage uses of the features; DVC compares this file alone.

    Args:
        features: the output of the step.
        stage: name of the stage.
        image_size: its resolution, in pixels.
        encoder: SHA-256 of the image encoder's file.
        sets: name of a set → number of a block → ``sha256`` and ``bytes`` of its file, SHA-256 of its ``tar``.
        held_out: the same of the held-out parts that the stage looks at.
    """
    view = features / view_of(stage)
    view.parent.mkdir(exist_ok=True)
    viewed = {
        key: {name: {str(number): dict(block) for number, block in blocks.items()} for name, blocks in of_split.items()}
        for key, of_split in ((VIEWED["train"], sets), (VIEWED["val"], held_out))
        if of_split or key == VIEWED["train"]
    }
    write_json(view, {"image_size": image_size, IMAGE_ENCODER: encoder, **viewed})


class FeatureBlock:
    """One block, mapped into memory: a row is read when it is asked for."""

    def __init__(self, path: Path) -> None:
        """Open a block.

        Raises:
            DataError: it is missing, damaged or no block of features.
        """
        from safetensors import SafetensorError, safe_open

        self.path = path
        try:
            self._file = safe_open(path, framework="pt").__enter__()
            self.made_of: dict[str, str] = json.loads(self._file.metadata()[MADE_OF])
            digests = self._file.get_tensor(IMAGES).numpy().tobytes()
            self._checks = self._file.get_tensor(CHECKS).numpy()
            self._rows = self._file.get_slice(ROWS)
        except FileNotFoundError:
            raise DataError(f"{path} is missing; {mend(path)}") from None
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise true_cause(error, f"reading {path}") or self._damaged(str(error)) from None
        self.images = {digests[at : at + 32]: at // 32 for at in range(0, len(digests), 32)}
        """SHA-256 of the images, sorted, and their places."""

    def row(self, image: bytes) -> torch.Tensor:
        """Q-Former outputs [Q, D] of an image.

        Args:
            image: SHA-256 of its file.

        Raises:
            DataError: the image has no row here, or its row is damaged.
        """
        if image not in self.images:
            raise DataError(f"{self.path} has no features of image {image.hex()}; run `dvc repro features`")
        at = self.images[image]
        row_QD: torch.Tensor = self._rows[at : at + 1][0]
        if _check(row_QD) != self._checks[at]:
            raise self._damaged(f"the row of image {image.hex()} is not what was written")
        return row_QD

    def _damaged(self, what: str) -> DataError:
        return DataError(f"{self.path} is damaged ({what}); {mend(self.path)}")


class FeatureReader:
    """Random access to the features that a stage uses of a split."""

    def __init__(self, features: Path, stage: str, split: str = "train") -> None:
        """Read the stage's view.

        Args:
            features: output of the step, such as ``data/tiny/features``.
            stage: name of the stage.
            split: one of ``VIEWED``.

        Raises:
            DataError: there is no view, or it is none.
        """
        path = features / view_of(stage)
        view = read_json(path)
        if not isinstance(view, dict) or view.keys() - {VIEWED["val"]} != {"image_size", IMAGE_ENCODER, "sets"}:
            raise DataError(f"{path} is no view of features; {mend(path)}")
        self.encoder: str = view[IMAGE_ENCODER]
        """SHA-256 of the image encoder that computed them."""
        self._folder, self._split = features / str(view["image_size"]), split
        self._sets: dict[str, dict[str, dict[str, Any]]] = view.get(VIEWED[split], {})
        # A cache on the instance: two readers must not share, or keep alive, one another's.
        self._block = lru_cache(maxsize=OPEN_BLOCKS)(self._open)

    def check(self, dataset: str, tars: Mapping[int, str]) -> None:
        """Find before the first step whether an image of a set lacks its features.

        A block has all images of the tar that it was made of, so that no row need be looked at.

        Args:
            dataset: name of the set.
            tars: number of a tar of the split → SHA-256.

        Raises:
            DataError: a block is missing or cut off, or was made of another tar.
        """
        known = self._sets.get(dataset, {})
        for number, digest in tars.items():
            path, block = self._path(dataset, number), known.get(str(number))
            if block is None or block["tar"] != digest:
                raise DataError(f"{path} is not of the shards that are there; run `dvc repro features`")
            if not path.is_file():
                raise DataError(f"{path} is missing; {mend(path)}")
            if path.stat().st_size != block["bytes"]:
                raise DataError(f"{path} is damaged (it has not {block['bytes']} bytes); {mend(path)}")

    def read(self, dataset: str, block: int, image: bytes) -> torch.Tensor:
        """Q-Former outputs [Q, D] of an image.

        Args:
            dataset: name of its set.
            block: number of the tar that holds it.
            image: SHA-256 of its file.

        Raises:
            DataError: it has none, or its block or row is damaged.
        """
        return self._block(dataset, block).row(image)

    def batch(self, images: Sequence[ImagePlace]) -> torch.Tensor:
        """Features of several images, stacked [B, Q, D]."""
        import torch

        return torch.stack([self.read(image.dataset, image.block, image.sha256) for image in images])

    def close(self) -> None:
        """Let go of the blocks."""
        self._block.cache_clear()

    def _path(self, dataset: str, number: int) -> Path:
        return self._folder / dataset / f"{block_name(self._split, number)}{SUFFIX}"

    def _open(self, dataset: str, number: int) -> FeatureBlock:
        block = FeatureBlock(self._path(dataset, number))
        listed = self._sets.get(dataset, {}).get(str(number), {})
        if block.made_of != {"tar": listed.get("tar"), "image_encoder": self.encoder}:
            raise DataError(f"{block.path} is not the one of the step's view; {mend(block.path)}")
        return block


def _check(row_QD: torch.Tensor) -> int:
    """CRC-32 of a row's bytes as they are stored."""
    import torch

    return zlib.crc32(row_QD.contiguous().view(torch.uint8).numpy().data)

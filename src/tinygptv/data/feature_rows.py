"""The rows of a block of features: those that earlier blocks have are copied, the others are encoded.

Images are encoded at one fixed batch shape, so that a row's bits depend on its image alone: neither on its neighbours
nor on which of them were copied. One batch of pixels and the rows of one block are in memory, however many images.

Shapes: N images, B images of a batch, C colours, H height, W width, Q queries, D width.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from tinygptv.data.features import FeatureBlock, write_block
from tinygptv.data.images import ImageError, read_image
from tinygptv.data.record_rules import IMAGE_FORMATS
from tinygptv.data.records import image_key
from tinygptv.data.tar_index import damaged, stream_members
from tinygptv.ground.errors import DataError

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

AHEAD = 2
"""Batches of images that are decoded while one is encoded."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file of features to be written."""

    image_size: int
    """Pixels of a side at which the images are encoded."""
    path: Path
    """The file."""
    known: tuple[Path, ...]
    """Earlier blocks that may have rows of the tar's images; rows made by other code or weights are none."""


@dataclass(frozen=True, slots=True)
class Made:
    """What is in a file of features."""

    images: tuple[bytes, ...]
    """SHA-256 of its images, sorted."""
    encoded: int
    """How many of their rows no earlier block had."""


@dataclass(frozen=True, slots=True)
class RowMaker:
    """What encodes images; a block is a function of it and of its tar alone."""

    encode: Callable[[torch.Tensor], torch.Tensor]
    """Pixels [N, C, H, W] of at most a batch to Q-Former outputs [N, Q, D], in the number format of the rows."""
    pixels: Mapping[int, Callable[[Image], torch.Tensor]]
    """Resolution → an image's pixels [C, H, W], ready for the encoder."""
    empty: torch.Tensor
    """No row [0, Q, D]."""
    batch_size: int
    """Images of a forward pass, never more and never fewer."""
    threads: int
    """Threads that decode images and bring them to size."""

    def make(self, tar: Path, digest: str, encoder: str, wanted: Iterable[Wanted]) -> dict[int, Made]:
        """Write the features of a tar, which is read and decoded once for all resolutions.

        Args:
            tar: the tar of the shards.
            digest: its SHA-256.
            encoder: that of the encoder's file.
            wanted: a file for each resolution.

        Returns:
            Resolution → what was made.

        Raises:
            DataError: the tar is not the one of that digest, or an image in it cannot be decoded.
        """
        files = {file.image_size: file for file in wanted}
        made = {size: _Rows(self, size, files[size].known) for size in files}
        ahead: deque[tuple[bytes, Future[dict[int, torch.Tensor]]]] = deque()

        def take() -> None:
            image, pixels = ahead.popleft()
            for size, pixels_CHW in pixels.result().items():
                made[size].add(image, pixels_CHW)

        threads = ThreadPoolExecutor(self.threads)
        try:
            for name, content in stream_members(tar, digest):
                if name.endswith(".json"):
                    continue
                image = sha256(content).digest()
                if name.partition(".")[0] != image_key(image.hex()):
                    raise damaged(tar, f"{name}: its bytes are not those that were written")
                if sizes := [size for size, rows in made.items() if not rows.copy(image)]:
                    ahead.append((image, threads.submit(self._pixels, tar, name, content, sizes)))
                if len(ahead) > AHEAD * self.batch_size:
                    take()
            while ahead:
                take()
        finally:
            threads.shutdown(cancel_futures=True)
        for size, rows in made.items():
            rows.encode()
            write_block(files[size].path, rows.found, self.empty, tar=digest, encoder=encoder)
        return {size: Made(tuple(sorted(rows.found)), rows.encoded) for size, rows in made.items()}

    def _pixels(self, tar: Path, name: str, content: bytes, sizes: Iterable[int]) -> dict[int, torch.Tensor]:
        """An image's pixels [C, H, W] at each of these resolutions."""
        try:
            image = read_image(content, name, formats=(IMAGE_FORMATS[name.rpartition(".")[2]],))
        except ImageError as error:
            raise damaged(tar, f"{name}: {error.reason}") from None
        return {size: self.pixels[size](image) for size in sizes}


class _Rows:
    """The rows of a block at one resolution, as they become known."""

    def __init__(self, maker: RowMaker, size: int, known: Iterable[Path]) -> None:
        import torch

        self.found: dict[bytes, torch.Tensor] = {}
        self.encoded = 0
        self._encode = maker.encode
        self._earlier = [block for path in known if (block := _opened(path)) is not None]
        self._images: list[bytes] = []
        self._pixels_BCHW = torch.zeros(maker.batch_size, 3, size, size)

    def copy(self, image: bytes) -> bool:
        """Take an image's row from an earlier block; False where none has it whole."""
        for block in self._earlier:
            if image in block.images:
                try:
                    self.found[image] = block.row(image).clone()
                except DataError:
                    continue  # damaged since: as good as none
                return True
        return False

    def add(self, image: bytes, pixels_CHW: torch.Tensor) -> None:
        """Encode an image with the next ones."""
        self._pixels_BCHW[len(self._images)] = pixels_CHW
        self._images.append(image)
        if len(self._images) == len(self._pixels_BCHW):
            self.encode()

    def encode(self) -> None:
        """Encode the images that wait."""
        if self._images:
            rows_NQD = self._encode(self._pixels_BCHW[: len(self._images)])
            self.found |= zip(self._images, rows_NQD, strict=True)
            self.encoded += len(self._images)
            self._images = []


def _opened(path: Path) -> FeatureBlock | None:
    """An earlier block; None where it is gone or damaged: its rows are encoded again."""
    try:
        return FeatureBlock(path)
    except DataError:
        return None

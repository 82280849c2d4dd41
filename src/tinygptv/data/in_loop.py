"""A stage's image features without a cache: loaders deliver pixels, the training process encodes them as they come.

Images are encoded at the batch shape of the step ``features``, so that a row has the bits that the cached one has,
whatever it comes with. As many steps as fill a forward pass are encoded at once.

Shapes: N images, B images of a forward pass, C colours, H height, W width, Q queries, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from tinygptv.data.images import read_image

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

    from tinygptv.data.batches import Batch
    from tinygptv.data.index import ImagePlace, RecordIndex


class PixelReader:
    """What a stage has in place of a ``FeatureReader``: images, decoded and brought to size."""

    def __init__(self, indexes: Mapping[str, RecordIndex], pixels: Callable[[Image], torch.Tensor]) -> None:
        """Read images from their shards.

        Args:
            indexes: name of a data set → the index of its training split.
            pixels: an image's pixels [C, H, W], ready for the encoder.
        """
        self._indexes = indexes
        self._pixels = pixels

    def check(self, dataset: str, tars: Mapping[int, str]) -> None:
        """Every record's image lies beside it: there is nothing to find before the first step."""

    def batch(self, images: Sequence[ImagePlace]) -> torch.Tensor:
        """Pixels of several images, stacked [N, C, H, W].

        Raises:
            DataError: an image is damaged.
        """
        import torch

        return torch.stack(
            [
                self._pixels(read_image(self._indexes[image.dataset].image_bytes(image.row), image.sha256.hex()))
                for image in images
            ]
        )


def encoded(
    steps: Iterable[list[Batch]], encode: Callable[[torch.Tensor], torch.Tensor], batch_size: int
) -> Iterator[list[Batch]]:
    """The same steps, with Q-Former outputs in the place of pixels.

    Args:
        steps: micro-batches of each step, made with a ``PixelReader``.
        encode: pixels [N, C, H, W] of at most B images to Q-Former outputs [N, Q, D].
        batch_size: B.
    """
    waiting: list[list[Batch]] = []
    images = 0
    for step in steps:
        waiting.append(step)
        images += sum(map(_images, step))
        if images + _most_images(step) > batch_size or len(waiting) == batch_size:  # steps may hold text alone
            yield from _encoded(waiting, encode, batch_size)
            waiting, images = [], 0
    yield from _encoded(waiting, encode, batch_size)


def _encoded(
    steps: list[list[Batch]], encode: Callable[[torch.Tensor], torch.Tensor], batch_size: int
) -> Iterator[list[Batch]]:
    import torch

    pictured = [batch.image_features for step in steps for batch in step if _images(batch)]
    rows: list[torch.Tensor] = []
    for pixels_NCHW in torch.cat(pictured).split(batch_size) if pictured else ():
        rows += encode(pixels_NCHW)
    rest = iter(rows)
    for step in steps:
        yield [
            replace(batch, image_features=torch.stack([next(rest) for _ in range(_images(batch))]))
            if _images(batch)
            else batch
            for batch in step
        ]


def _images(batch: Batch) -> int:
    return len(batch.image_features)


def _most_images(step: list[Batch]) -> int:
    """Images that the next step may have, if it is like this one."""
    return sum(len(batch.record_ids) for batch in step)

"""What the tensors of a micro-batch stand for: records, images, tokens, and which of them are learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from tinygptv.data.prompts import IGNORE_INDEX
from tinygptv.data.records import ImageSample, image_key
from tinygptv.data.samples import Samples

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from tinygptv.data.batches import Batch
    from tinygptv.data.index import ImagePlace
    from tinygptv.data.order import Draw
    from tinygptv.data.prompts import Example

TEXT, IMAGE, END, CUT = "text", "image", "end", "cut"
"""Kinds of tokens; ``END`` is the mark that an answer ends with, ``CUT`` one of the record that a stage leaves out."""
IMAGE_SLOT = "<image>"


@dataclass(frozen=True, slots=True)
class Token:
    """One place of a sequence."""

    id: int
    text: str
    """As the tokenizer decodes it alone; ``IMAGE_SLOT`` for a slot that the image fills."""
    kind: str
    loss: bool
    """Whether the model is trained to predict it."""


@dataclass(frozen=True, slots=True)
class ImageMember:
    """Where an image lies in the shards."""

    key: str
    shard: str
    """Tar, and the folder of its data set."""
    file: str
    """Name of the member, and of the copy below ``images``."""
    width: int
    height: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Row:
    """One sample of a micro-batch."""

    record: str
    task: str
    """Entry of the stage's mixture."""
    image: ImageMember | None
    """None: a text without an image."""
    tokens: tuple[Token, ...]
    padding: int
    """Places after the tokens, up to the longest sample of the micro-batch."""

    @property
    def length(self) -> int:
        """Tokens, image slots included, without those that are left out."""
        return sum(token.kind != CUT for token in self.tokens)

    @property
    def is_cut(self) -> bool:
        """Whether the stage leaves out some of the record."""
        return any(token.kind == CUT for token in self.tokens)

    @property
    def loss_tokens(self) -> int:
        """Tokens that carry loss."""
        return sum(token.loss for token in self.tokens)


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads micro-batches back."""

    tokenizer: PreTrainedTokenizerBase
    end_id: int
    """The token of the end mark."""
    image_token_id: int
    images: Mapping[ImagePlace, tuple[Path, ImageSample]]
    """Place of an image → tar and sample."""

    def rows(self, batch: Batch, drawn: Sequence[tuple[Draw, Example]]) -> tuple[Row, ...]:
        """The rows of a micro-batch.

        Args:
            batch: its tensors.
            drawn: what its samples were made from, in the same order.
        """
        rows = []
        for i, (draw, example) in enumerate(drawn):
            length = int(batch.attention_mask[i].nonzero().max()) + 1
            ids, labels = batch.input_ids[i].tolist(), batch.labels[i].tolist()
            assert (batch.record_ids[i], ids[:length]) == (example.record_id, example.input_ids)
            rows.append(
                Row(
                    record=example.record_id,
                    task=draw.entry,
                    image=None if example.image is None else self._image(example.image),
                    tokens=tuple(map(self._token, ids[:length], labels)),
                    padding=len(ids) - length,
                )
            )
        return tuple(rows)

    def decoded(self, row: Row) -> str:
        """A row's tokens as one text, with the image's slots as one."""
        parts = groupby(row.tokens, key=lambda token: token.kind == IMAGE)
        return "".join(IMAGE_SLOT if slots else self._text([token.id for token in part]) for slots, part in parts)

    def _token(self, number: int, label: int) -> Token:
        loss = label != IGNORE_INDEX
        assert not loss or label == number, "a label is the token itself; the loss shifts them"
        if number == self.image_token_id:
            return Token(number, IMAGE_SLOT, IMAGE, loss)
        return Token(number, self._text([number]), END if loss and number == self.end_id else TEXT, loss)

    def _text(self, ids: list[int]) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)

    def _image(self, place: ImagePlace) -> ImageMember:
        tar, sample = self.images[place]
        info = sample.record.image
        assert info is not None, "the place is an image's"
        return ImageMember(sample.key, f"{place[0]}/{tar.name}", info.file, info.width, info.height, info.sha256)


def read_images(tars: Mapping[ImagePlace, Path]) -> dict[ImagePlace, tuple[Path, ImageSample]]:
    """Find images by their places: place → tar and sample.

    Args:
        tars: place → the tar that it names.

    Raises:
        DataError: a tar or an image is damaged.
    """
    by_set: dict[str, set[Path]] = {}
    for place, tar in tars.items():
        by_set.setdefault(place.dataset, set()).add(tar)
    samples = Samples({dataset: sorted(paths) for dataset, paths in by_set.items()})
    return {place: (tar, samples.read(place.dataset, image_key(place.sha256.hex()))) for place, tar in tars.items()}

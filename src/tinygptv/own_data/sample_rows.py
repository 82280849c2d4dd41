"""A record as a row of the picture of ``tinygptv data show``: its tokens, which carry loss, which are cut."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tinygptv.data.fit import QuestionTooLongError
from tinygptv.data.images import read_image
from tinygptv.data.prompts import end_mark_id
from tinygptv.data.record_encoder import RecordEncoder, Texts
from tinygptv.evaluation.drawing import BLUE, GREEN, ORANGE, PURPLE, VERMILLION
from tinygptv.own_data.counting import ENDLESS, Use
from tinygptv.own_data.tokens import FIRST_SPECIAL, tokenizer_of
from tinygptv.provenance.batch_view import CUT, END, IMAGE, IMAGE_SLOT, TEXT, ImageMember, Row, Token

if TYPE_CHECKING:
    from PIL.Image import Image

    from tinygptv.data.boxes import Box
    from tinygptv.data.prompts import Example
    from tinygptv.data.records import Record, Turn

SIDE = 480
"""Pixels of the longer side of a picture with its boxes."""
COLOURS = (VERMILLION, BLUE, GREEN, PURPLE, ORANGE)
"""Of the boxes of a record, in turn."""


class SampleRows:
    """Makes rows of records as a stage trains them."""

    def __init__(self, use: Use, tokenizer: Path | None) -> None:
        """Prepare for a stage.

        Args:
            use: what it takes.
            tokenizer: folder that has the tokenizer; None: bytes are shown.

        Raises:
            DataError: the stage's end mark is several tokens.
        """
        self._use = use
        self._tokenizer = tokenizer_of(tokenizer, use.stage.prompt.end_mark)
        self._end_id = end_mark_id(self._tokenizer, use.stage.prompt.end_mark)
        self._image_id = FIRST_SPECIAL + 2 if tokenizer is None else use.image_token_id
        endless = use.stage.model_copy(update={"max_answer_tokens": ENDLESS, "max_sequence_tokens": ENDLESS})
        self._cut, self._whole = (
            RecordEncoder(self._tokenizer, stage, image_token_id=self._image_id, slots=use.slots)
            for stage in (use.stage, endless)
        )

    def row(self, record: Record, picture: bytes, name: str, number: int, images: dict[str, Image]) -> Row:
        """The row of a record; its picture with boxes comes into ``images``.

        Args:
            record: the record.
            picture: the file of its picture; empty without one.
            name: of the picture.
            number: of the instruction, counted round.
            images: key of a row's image → picture.
        """
        member = None
        if picture:
            key = name if name not in images else f"{name} {number}"
            images[key] = with_boxes(read_image(picture, name), record.boxes)
            width, height = images[key].size
            member = ImageMember(key, "", name, width, height, hashlib.sha256(picture).hexdigest())
        tokens = tuple(self._tokens(record, number, pictured=bool(picture)))
        return Row(record=record.id, task=self._use.family or record.task, image=member, tokens=tokens, padding=0)

    def _tokens(self, record: Record, number: int, *, pictured: bool) -> Iterator[Token]:
        """All tokens of a record: prompts, answers with their end marks, and behind each answer what is cut off it."""
        whole = self._turns(self._example(self._whole, record, number, pictured=pictured))
        try:
            kept = self._turns(self._example(self._cut, record, number, pictured=pictured))
        except QuestionTooLongError:
            kept = []
        for place, (asked, answer) in enumerate(whole):
            if place >= len(kept):
                yield from (self._token(token, CUT) for token in (*asked, *answer))
                continue
            learned = kept[place][1]
            yield from (self._token(token, TEXT) for token in asked)
            yield from (self._token(token, TEXT, loss=True) for token in learned[:-1])
            yield self._token(learned[-1], END, loss=True)
            yield from (self._token(token, CUT) for token in answer[len(learned) - 1 : -1])

    def _example(self, encoder: RecordEncoder, record: Record, number: int, *, pictured: bool) -> Example:
        def texts_of(_: int, turn: Turn) -> Texts:
            return turn.question, turn.answer

        return encoder.example(record, self._use.family or record.task, number, texts_of, pictured=pictured)

    def _turns(self, example: Example) -> list[tuple[list[int], list[int]]]:
        """Tokens of each question and of its answer, which the end mark closes."""
        turns: list[tuple[list[int], list[int]]] = [([], [])]
        for token, label in zip(example.input_ids, example.labels, strict=True):
            learned = label == token
            turns[-1][learned].append(token)
            if learned and token == self._end_id:
                turns.append(([], []))
        return turns[:-1]

    def _token(self, number: int, kind: str, *, loss: bool = False) -> Token:
        if number == self._image_id:
            return Token(number, IMAGE_SLOT, CUT if kind == CUT else IMAGE, loss)
        text = self._tokenizer.decode([number], skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return Token(number, str(text), kind, loss)


def with_boxes(image: Image, boxes: tuple[Box, ...]) -> Image:
    """A picture of a bounded size with the boxes of its record, each in a colour of its own as far as there are any."""
    from PIL import ImageDraw

    scale = SIDE / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    drawn = image.resize((width, height))
    pencil = ImageDraw.Draw(drawn)
    for place, (x1, y1, x2, y2) in enumerate(boxes):
        edges = [x1 * width / 100, y1 * height / 100, x2 * width / 100, y2 * height / 100]
        pencil.rectangle(edges, outline=COLOURS[place % len(COLOURS)], width=max(2, SIDE // 100))
    return drawn

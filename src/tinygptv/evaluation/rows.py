"""A table's rows of images and questions: each is judged by itself and gets its answer, or the reason for none."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from tinygptv.data.data_urls import from_base64, from_data_url, is_data_url
from tinygptv.data.images import ImageError
from tinygptv.ground.errors import DataError, NotFiniteError

if TYPE_CHECKING:
    from PIL.Image import Image

    from tinygptv.model.inference import VisionLanguageModel

IMAGE, QUESTION = "image", "question"
"""The columns."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Reply:
    """What a row gets: one of the two."""

    answer: str | None = None
    error: str | None = None
    """``<column>: <reason>``, for each column at fault."""


def answer_rows(model: VisionLanguageModel, images: Sequence[object], questions: Sequence[object]) -> list[Reply]:
    """Answer every row that can be answered.

    Args:
        model: the model.
        images: of each row what ``image_file`` takes; None for a row without.
        questions: of each row a text; None for a row without.

    Returns:
        One reply for each row.
    """
    pictures: dict[bytes, Image] = {}

    def picture(image: object) -> Image:
        content = image_file(image)
        digest = hashlib.sha256(content).digest()
        if digest not in pictures:
            pictures[digest] = model.picture(content)
        return pictures[digest]

    asked: list[tuple[Image, str]] = []
    faults: list[list[str]] = []
    for image, question in zip(images, questions, strict=True):
        found: list[str] = []
        prepared = _tried(IMAGE, picture, image, found), _tried(QUESTION, model.prompt, question, found)
        if prepared[0] is not None and prepared[1] is not None:
            asked.append((prepared[0], prepared[1]))
        faults.append(found)
    answers = iter(_answered(model, asked))
    return [Reply(error="; ".join(found)) if found else next(answers) for found in faults]


def _answered(model: VisionLanguageModel, asked: Sequence[tuple[Image, str]]) -> list[Reply]:
    """Answers of a pass together; where a row breaks it, of each half by itself."""
    try:
        answers = model.ask([picture for picture, _ in asked], [prompt for _, prompt in asked])
    except NotFiniteError as error:
        if len(asked) == 1:
            return [Reply(error=str(error))]
        half = len(asked) // 2
        return _answered(model, asked[:half]) + _answered(model, asked[half:])
    return [Reply(answer=answer) for answer in answers]


def image_file(image: object) -> bytes:
    """The content of an image's file from what a table may hold: bytes, or base 64 as text, also as a data URL.

    A path or an address is neither: nothing is read from this machine's disk or from the network.

    Raises:
        DataError: it is missing, or nothing of that.
    """
    if image is None:
        raise DataError("the image is missing; send a file's bytes or their base 64")
    if isinstance(image, bytes | bytearray | memoryview):
        return bytes(image)
    if not isinstance(image, str):
        raise DataError(f"the image must be a file's bytes or their base 64, not {type(image).__name__}")
    try:
        return from_data_url(image) if is_data_url(image) else from_base64(image)
    except ValueError as error:
        raise DataError(
            f"the image is text but {error}; paths and addresses are not read, send the file's content"
        ) from None


def _tried(column: str, prepare: Callable[[object], T], value: object, faults: list[str]) -> T | None:
    """A prepared value, or None and one more fault."""
    try:
        return prepare(value)
    except DataError as error:
        faults.append(f"{column}: {error.reason if isinstance(error, ImageError) else error}")
        return None

"""From an image's file to the small picture that waits for the model.

A waiting question keeps the picture at the model's own size and not the file or its pixels, so that the memory of a
full queue is known. The model's own image processor would make the same picture: it resizes with Pillow, too, and
leaves a picture of the right size as it is.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from PIL import Image, UnidentifiedImageError

from tinygptv.data import records
from tinygptv.serving.requests import RequestError
from tinygptv.serving.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMATS = ("PNG", "JPEG", "WEBP")


def read_picture(content: bytes, size: Mapping[str, int], resample: int, settings: Settings) -> Image.Image:
    """Decode an image's file and bring it to a size.

    Args:
        content: the file.
        size: ``height`` and ``width`` in pixels.
        resample: one of Pillow's filters.
        settings: the limits.

    Raises:
        RequestError: it is too large, too small, damaged or of another format.
    """
    if len(content) > settings.max_image_bytes:
        raise RequestError(413, f"the image has more than {settings.max_image_bytes} bytes", param="image_url")
    width, height = _size_of(content)
    if width * height > settings.max_pixels:
        raise _refused(f"the image has {width}x{height} pixels, more than {settings.max_pixels}")
    if min(width, height) < settings.min_side or max(width, height) > settings.max_side:
        raise _refused(f"the image has {width}x{height} pixels; a side has {settings.min_side} to {settings.max_side}")
    try:
        image = records.open_image(content, "the request", FORMATS)
    except records.RecordError as error:
        raise _refused(error.reason) from None
    return image.resize((size["width"], size["height"]), resample=Image.Resampling(resample))


def _size_of(content: bytes) -> tuple[int, int]:
    """Width and height as the file's head says, before anything is decoded."""
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            return image.size
    except UnidentifiedImageError:
        raise _refused("the image cannot be decoded; PNG, JPEG and WebP are known") from None
    except Exception as error:  # for damaged files Pillow has many
        reason = " ".join(str(error).split())[:200]
        raise _refused(f"the image cannot be decoded ({reason})") from None


def _refused(reason: str) -> RequestError:
    return RequestError(400, reason, code="invalid_image", param="image_url")

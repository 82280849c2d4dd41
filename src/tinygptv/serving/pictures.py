"""From an image's file to the small picture that waits for the model.

A waiting question keeps the picture at the model's own size and not the file or its pixels, so that the memory of a
full queue is known. The model's own image processor would make the same picture: it resizes with Pillow, too, and
leaves a picture of the right size as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from PIL import Image

from tinygptv.data.images import ImageError, read_image
from tinygptv.serving.limits import ServiceLimits
from tinygptv.serving.requests import RequestError

if TYPE_CHECKING:
    from collections.abc import Mapping


def read_picture(content: bytes, size: Mapping[str, int], resample: int, limits: ServiceLimits) -> Image.Image:
    """Decode an image's file and bring it to a size.

    Args:
        content: the file.
        size: ``height`` and ``width`` in pixels.
        resample: one of Pillow's filters.
        limits: of an image's file.

    Raises:
        RequestError: it is too large, too small, damaged or of another format.
    """
    if len(content) > limits.max_image_bytes:
        raise RequestError(413, f"the image has more than {limits.max_image_bytes} bytes", param="image_url")
    try:
        image = read_image(content)
    except ImageError as error:
        raise RequestError(400, error.reason, code="invalid_image", param="image_url") from None
    return image.resize((size["width"], size["height"]), resample=Image.Resampling(resample))

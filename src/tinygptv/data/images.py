"""One image, one meaning: any picture as a person sees it, upright, without alpha, in 8-bit RGB (docs/records.md).

Training, evaluation, ``ask``, ``load().answer``, the HTTP service, the web page and the transformers processor all come
through ``read_image``, so that a box means the same place everywhere.
"""

from __future__ import annotations

import errno
import io
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from PIL import Image, ImageCms

from tinygptv.ground.errors import DataError, brief, from_os_error

if TYPE_CHECKING:
    from numpy.typing import NDArray

ImageSource = Image.Image | str | Path | bytes | bytearray | memoryview | BinaryIO | np.ndarray
FORMATS = ("PNG", "JPEG", "WEBP")
BACKGROUND = (255, 255, 255)
"""What lies behind transparent pixels: white, the page that a person sees them on."""
MAX_PIXELS = 40_000_000
"""Width times height; a telephone's pictures have 12 to 24 million."""
MIN_SIDE = 4
"""Below it, colours and rows of an image cannot be told apart by the image processor."""
MAX_SIDE = 16_384
"""The table of weights for making a picture smaller grows with the longer side."""

# A damaged EXIF block says nothing, on the terminal neither.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.TiffImagePlugin")

NO_FILE = frozenset({errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP})
"""The system's errors for a path that leads to no file; others say that it may be right."""
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation → what makes the picture upright; 1 is upright already."""
_ON_ITS_SIDE = tuple(_UPRIGHT[number] for number in (5, 6, 7, 8))
_WITHOUT_SCALE = ("F", "LAB")


class ImageError(DataError):
    """A picture that cannot be used; ``reason`` says why, without its name."""

    def __init__(self, reason: str, name: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.reason = reason


def read_image(source: ImageSource, name: str = "the image", formats: Iterable[str] = FORMATS) -> Image.Image:
    """A picture as seen.

    Args:
        source: a file's content, path or binary stream; an opened picture of any of Pillow's modes but ``F`` and
            ``LAB``; or an array [H, W] or [H, W, C] with C of 3 or 4, of whole numbers of 8 bits (16 for [H, W]).
        name: what an error calls it.
        formats: which of Pillow's formats a file may have.

    Returns:
        An RGB picture of its own, without metadata: nothing can turn it once more.

    Raises:
        ImageError: it is missing, of another format, damaged, too small or too large.
    """
    if isinstance(source, Image.Image):
        return _as_seen(source, name)
    if isinstance(source, str | Path):
        name = str(source)[:1000]  # who gives base 64 as a path shall not read all of it again
        try:
            return _decode(Path(source).read_bytes(), name, formats)
        except (OSError, ValueError) as error:  # a null byte in a path is a ValueError
            if isinstance(error, OSError) and error.errno not in NO_FILE:
                raise ImageError(str(from_os_error(error, "it cannot be read")), name) from None
            raise ImageError(
                f"{getattr(error, 'strerror', error)}; give the path of a PNG, JPEG or WebP file", name
            ) from None
    if isinstance(source, bytes | bytearray | memoryview):
        return _decode(bytes(source), name, formats)
    if isinstance(source, np.ndarray):
        return _as_seen(_from_array(source, name), name)
    content = source.read() if hasattr(source, "read") else None
    if not isinstance(content, bytes):
        raise ImageError(f"a {type(source).__name__} is no picture; give a file, its bytes or a PIL image", name)
    return _decode(content, name, formats)


def size_as_seen(content: bytes, name: str = "the image") -> tuple[int, int]:
    """Width and height of a file's picture as ``read_image`` gives it; its pixels are not decoded.

    Raises:
        ImageError: it is of another format, damaged, too small or too large.
    """
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            _check_size(image, name)
            width, height = image.size
            return (height, width) if _UPRIGHT.get(_orientation(image)) in _ON_ITS_SIDE else (width, height)
    except ImageError:
        raise
    except Exception as error:  # as below
        raise _undecodable(error, name) from None


def _decode(content: bytes, name: str, formats: Iterable[str]) -> Image.Image:
    try:
        with Image.open(io.BytesIO(content), formats=tuple(formats)) as image:
            _check_size(image, name)
            image.verify()
        with Image.open(io.BytesIO(content), formats=tuple(formats)) as image:
            return _as_seen(image, name)
    except ImageError:
        raise
    except Exception as error:  # for damaged files Pillow has many
        raise _undecodable(error, name) from None


def _undecodable(error: Exception, name: str) -> ImageError:
    reason = brief(error)  # some of them say nothing
    reason = "unknown format" if "cannot identify" in reason else reason
    return ImageError(f"the image cannot be decoded ({reason}); PNG, JPEG and WebP are known", name)


def _check_size(image: Image.Image, name: str) -> None:
    """Before anything is decoded."""
    size = f"the image has {image.width}x{image.height} pixels"
    if image.width * image.height > MAX_PIXELS:
        raise ImageError(f"{size}, more than {MAX_PIXELS}", name)
    if min(image.size) < MIN_SIDE or max(image.size) > MAX_SIDE:
        raise ImageError(f"{size}; a side has {MIN_SIDE} to {MAX_SIDE}", name)


def _from_array(array: NDArray[Any], name: str) -> Image.Image:
    whole = array.dtype == np.uint8 and (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4)))
    if not whole and not (array.dtype == np.uint16 and array.ndim == 2):
        raise ImageError(
            f"an array of {array.dtype} {list(array.shape)} is no picture; give uint8 [H, W], [H, W, 3] or [H, W, 4]",
            name,
        )
    return Image.fromarray(array)


def _as_seen(image: Image.Image, name: str) -> Image.Image:
    _check_size(image, name)
    if image.mode in _WITHOUT_SCALE:
        raise ImageError(f"pixels of mode {image.mode} have no fixed scale; convert them to 8 bits a channel", name)
    turn = _UPRIGHT.get(_orientation(image))
    image.load()
    seen = _composited(_coloured(_in_8_bits(image)))
    if turn is not None:
        seen = seen.transpose(turn)
    seen.info.clear()
    return seen


def _orientation(image: Image.Image) -> int:
    """What EXIF says; a damaged block says nothing, as in browsers."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # as above; the pixels may be whole
        return 1


def _in_8_bits(image: Image.Image) -> Image.Image:
    """The high byte of 16, as Pillow itself reads colours of 16 bits; a clear grey stays clear."""
    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image).clip(0, 65_535).astype(np.uint16)
    grey = Image.fromarray((values >> 8).astype(np.uint8))
    grey.info = {key: value for key, value in image.info.items() if key != "transparency"}
    if isinstance(clear := image.info.get("transparency"), int):
        grey.putalpha(Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8)))
    return grey


def _coloured(image: Image.Image) -> Image.Image:
    """RGB or RGBA, in the colours of sRGB where a profile names others; always a copy."""
    alpha = None
    if image.mode == "La":
        image = image.convert("LA")
    if image.has_transparency_data:
        image = image if image.mode == "LA" else image.convert("RGBA")
        alpha = image.getchannel("A")
        image = image.convert(image.mode[:-1])
    elif image.mode in ("P", "1"):
        image = image.convert("RGB" if image.mode == "P" else "L")
    coloured = _in_srgb(image) or image.convert("RGB")
    if alpha is not None:
        coloured.putalpha(alpha)
    return coloured


def _in_srgb(image: Image.Image) -> Image.Image | None:
    """A picture whose profile is another one than sRGB; None: there is none, or it is damaged or of other channels."""
    content = image.info.get("icc_profile")
    if not isinstance(content, bytes) or not content:
        return None
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(content))
        if "sRGB" in ImageCms.getProfileDescription(profile):
            return None
        return ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None


def _composited(image: Image.Image) -> Image.Image:
    """RGB over the background."""
    if image.mode == "RGB":
        return image
    behind = Image.new("RGBA", image.size, (*BACKGROUND, 255))
    return Image.alpha_composite(behind, image).convert("RGB")

"""Files as text: data URLs (RFC 2397) and base 64 in the dialects of browsers and clients' libraries."""

from __future__ import annotations

import base64
import binascii
import re
from urllib.parse import unquote_to_bytes

_HEAD = re.compile(r"\s*data:(?P<media>[^,]*),", re.IGNORECASE)
_BASE64 = re.compile(r";\s*base64\s*$", re.IGNORECASE)
_SPACE = re.compile(rb"\s+")
_PERCENT = re.compile(r"%[0-9a-f]{2}", re.IGNORECASE)
_URL_SAFE = bytes.maketrans(b"-_", b"+/")


def is_data_url(text: str) -> bool:
    """Whether a text begins as a data URL does."""
    return _HEAD.match(text) is not None


def from_data_url(url: str) -> bytes:
    """The content of a data URL, whatever its media type says: the file itself tells what it is.

    Raises:
        ValueError: it is no data URL, or its base 64 is damaged.
    """
    head = _HEAD.match(url)
    if head is None:
        raise ValueError("it does not begin with `data:...,`")
    rest = url[head.end() :]
    return from_base64(rest) if _BASE64.search(head["media"]) else unquote_to_bytes(rest)


def from_base64(text: str) -> bytes:
    """Base 64 with either alphabet, with line breaks or percent signs, padded or not.

    Raises:
        ValueError: it has other characters, or a length that no content has.
    """
    content = unquote_to_bytes(text) if _PERCENT.search(text) else text.encode()
    content = _SPACE.sub(b"", content).rstrip(b"=").translate(_URL_SAFE)
    try:
        return base64.b64decode(content + b"=" * (-len(content) % 4), validate=True)
    except binascii.Error as error:
        raise ValueError(f"no valid base 64 ({error})") from None

"""Pictures in the cells of tables: embedded as bytes, as text in base 64, or named.

Source: the feature `Image` of Hugging Face's `datasets`, whose cells are ``{"bytes": ..., "path": ...}``.
"""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import PurePosixPath
from typing import Any

from tinygptv.data.conversations import kind
from tinygptv.data.data_urls import from_base64, from_data_url, is_data_url
from tinygptv.data.named_pictures import check_one, find_picture
from tinygptv.data.record_rules import MAX_NAME, RecordError
from tinygptv.data.source import ImageFile, Source
from tinygptv.data.tasks import is_blank

_BEGINS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF")
_BASE64_BEGINS = ("iVBORw0KGgo", "/9j/", "UklGR")
"""The same in base 64."""
_ABOUT_A_PICTURE = re.compile(r"\s*(\{\s*['\"](bytes|path)['\"]\s*:|b['\"]|<PIL\.|\[*\{?'?array\(|tensor\(|\[\[)")


class CellPictures:
    """The pictures of a data set's rows."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._by_last_part: _LastParts | None = None

    def of(self, cell: Any, column: str) -> ImageFile | bytes | None:
        """The picture of a cell, or the first of several where the profile says so; None where it has none.

        Raises:
            RecordError: it is none, is missing, or there are several.
        """
        listed = [one for one in (cell if isinstance(cell, list) else [cell]) if not _is_empty(one)]
        check_one(len(listed), self._source)
        if not listed:
            return None
        one = listed[0]
        if isinstance(one, dict):
            content, path = one.get("bytes"), one.get("path")
            one = path if content is None else content
        if isinstance(one, bytes):
            return embedded(one)
        if not isinstance(one, str):
            raise RecordError(
                f"`{column}` must be a picture: its bytes, {{bytes, path}} or a name, not {kind(one)}", ""
            )
        return self._of_text(one, column)

    def close(self) -> None:
        """Forget what was looked up."""
        if self._by_last_part is not None:
            self._by_last_part.close()

    def _of_text(self, text: str, column: str) -> ImageFile | bytes:
        if _ABOUT_A_PICTURE.match(text):
            raise RecordError(
                f"`{column}` is not a picture but text about one ({text[:30]!r}): the cells were turned into text when "
                "the file was written; write the bytes, or names of files",
                "",
            )
        if is_data_url(text) or text.startswith(_BASE64_BEGINS):
            try:
                return embedded(from_data_url(text) if is_data_url(text) else from_base64(text))
            except ValueError as error:
                raise RecordError(f"`{column}` is damaged: {error}", "") from None
        try:
            return find_picture(text, self._source)
        except RecordError:
            if (found := self._by_name(text)) is None:
                raise
            return found

    def _by_name(self, text: str) -> ImageFile | None:
        """The one file below the images that is called as a path ends: paths are often of another machine."""
        if not self._source.settings.images or "://" in text:
            return None
        if self._by_last_part is None:
            self._by_last_part = _LastParts(self._source)
        last = PurePosixPath(text.replace("\\", "/")).name
        names = self._by_last_part.find(last)
        if len(names) > 1:
            raise RecordError(
                f"its picture {text[:MAX_NAME]!r} is not there, and several files below `images` are called "
                f"{last[:MAX_NAME]!r}; name it from `images` on",
                "",
            )
        return self._source.image(names[0]) if names else None


def embedded(content: bytes) -> bytes:
    """The bytes of a picture.

    Raises:
        RecordError: they are none of a file that can be read. Whether it is whole is seen when it is decoded.
    """
    if not content.startswith(_BEGINS):
        told = f"it begins with {content[:8]!r}" if content else "there are none"
        raise RecordError(f"its bytes are no PNG, JPEG or WebP picture: {told}", "")
    return content


def _is_empty(cell: Any) -> bool:
    if isinstance(cell, dict) and cell.keys() & {"bytes", "path"}:
        return cell.get("bytes") is None and not cell.get("path")
    return cell is None or cell != cell or (isinstance(cell, str) and is_blank(cell))  # NaN is not itself


class _LastParts:
    """The files below the images by the last parts of their names, in a file without a name."""

    def __init__(self, source: Source) -> None:
        self._base = sqlite3.connect("", isolation_level=None)
        self._base.execute("PRAGMA journal_mode = OFF")
        self._base.execute("CREATE TABLE files (last BLOB, name BLOB)")
        self._base.execute("BEGIN")
        rows = ((_bytes(PurePosixPath(name).name), _bytes(name)) for name in source.names())
        self._base.executemany("INSERT INTO files VALUES (?, ?)", rows)
        self._base.execute("CREATE INDEX by_last ON files (last)")
        self._base.execute("COMMIT")

    def find(self, last: str) -> list[str]:
        """The first two that are called so."""
        with closing(self._base.execute("SELECT name FROM files WHERE last = ? LIMIT 2", (_bytes(last),))) as found:
            return [name.decode(errors="surrogatepass") for (name,) in found]

    def close(self) -> None:
        self._base.close()


def _bytes(name: str) -> bytes:
    return name.encode(errors="surrogatepass")

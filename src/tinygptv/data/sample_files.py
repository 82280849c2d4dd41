"""Samples that are a few files of one name: a picture, and its text or JSON, in a tar or a folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tinygptv.data.columns import Columns, columns_of, pair_of
from tinygptv.data.conversations import kind, records_of
from tinygptv.data.message_rows import LISTS, turns_in
from tinygptv.data.named_pictures import check_one
from tinygptv.data.record_names import RecordNames
from tinygptv.data.record_rules import RecordError
from tinygptv.data.source import Found, ImageFile, Source
from tinygptv.data.tar_index import LARGEST_MEMBER
from tinygptv.ground.errors import DataError, brief

PICTURES = ("jpg", "jpeg", "png", "webp")
TEXT, OBJECT = "txt", "json"
OTHER_PICTURES = ("gif", "bmp", "tif", "tiff", "avif", "heic", "jp2")
"""Endings of pictures that cannot be read."""
LARGEST_TEXT = 16 << 20
"""Bytes of a text or an object."""
SUCCESS = "success"
_TEXT_ALONE = Columns("", "", f".{TEXT}", "", "")


@dataclass(frozen=True, slots=True)
class SampleFile:
    """A file of a sample."""

    size: int
    plain: bool
    """Whether it is a file; not a link."""
    read: Callable[[], bytes]
    image: Callable[[], ImageFile]
    """The file as a picture, with its digest."""


SampleFiles = Mapping[str, Sequence[SampleFile]]
"""Ending → the files of a sample that end so."""


def object_of(files: SampleFiles) -> dict[str, Any] | None:
    """The JSON of a sample; None where it has none.

    Raises:
        RecordError: it is no object.
    """
    if OBJECT not in files:
        return None
    try:
        content = json.loads(_content(files[OBJECT][0], OBJECT))
    except (ValueError, RecursionError) as error:
        raise RecordError(f"its .{OBJECT} is not valid JSON ({str(error)[:100]})", "") from None
    if isinstance(content, list):
        content = {"conversations": content}
    if not isinstance(content, dict):
        raise RecordError(f"its .{OBJECT} must be an object, not {kind(content)}", "")
    return content


def records_of_sample(
    key: str, files: SampleFiles, content: Mapping[str, Any] | None, source: Source, names: RecordNames
) -> Iterator[Found]:
    """The records of a sample: a conversation, a question and its answer, or a caption.

    Args:
        key: its name.
        files: its files.
        content: what ``object_of`` gave of them.
        source: the data set.
        names: those that were given before.

    Raises:
        RecordError: something is missing, damaged, or too much.
    """
    text = _text(files[TEXT][0], TEXT) if TEXT in files else None
    image = _picture(files, source)
    content = dict(content or {})
    is_talk = any(isinstance(content.get(name), list) for name in LISTS)
    if image is None and not is_talk:
        raise RecordError(_without_picture(files, content), key)
    name = names.of(key, [key, "" if image is None else image.sha256, text, repr(content)])
    if is_talk:
        turns = turns_in(content, has_picture=image is not None, where="a .jpg, .png or .webp")
        yield from records_of(name, turns, image, source)
        return
    try:
        columns = columns_of(content, source.settings, f"its .{OBJECT}") if content else None
    except DataError as error:
        raise RecordError(str(error), key) from None
    if columns is not None and columns.answer and (columns.question or text is None):
        yield pair_of(name, content, columns, image, source.settings.task)
    elif text is not None:
        yield pair_of(name, {f".{TEXT}": text}, _TEXT_ALONE, image, source.settings.task)
    else:
        raise RecordError(f"has a picture, and no text: neither a .{TEXT} nor a caption in a .{OBJECT}", key)


def _picture(files: SampleFiles, source: Source) -> ImageFile | None:
    found = [file for ending in PICTURES for file in files.get(ending, ())]
    check_one(len(found), source)
    if not found:
        return None
    _check(found[0], "picture", LARGEST_MEMBER)
    return found[0].image()


def _without_picture(files: SampleFiles, content: Mapping[str, Any]) -> str:
    status = content.get("status", SUCCESS)
    if status != SUCCESS:
        return not_downloaded(content)
    other = next((ending for ending in OTHER_PICTURES if ending in files), None)
    known = "PNG, JPEG and WebP are known"
    return f"its picture is a .{other}; {known}" if other else f"has no picture; {known}"


def not_downloaded(content: Mapping[str, Any]) -> str:
    """Why img2dataset has no picture of an address."""
    status, why = (brief(content.get(key) or "no reason is given", 100) for key in ("status", "error_message"))
    return f"its picture was not downloaded: {status} ({why})"


def _content(file: SampleFile, ending: str) -> str:
    _check(file, f".{ending}", LARGEST_TEXT)
    try:
        return file.read().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise RecordError(f"its .{ending} is not UTF-8 text; save it as UTF-8", "") from None


def _text(file: SampleFile, ending: str) -> str:
    """A text without the line break that ends its file."""
    return _content(file, ending).rstrip("\r\n")


def _check(file: SampleFile, what: str, largest: int) -> None:
    if not file.plain:
        raise RecordError(f"its {what} is a link or no plain file", "")
    if file.size > largest:
        raise RecordError(f"its {what} has {file.size} bytes; {largest} are the most", "")

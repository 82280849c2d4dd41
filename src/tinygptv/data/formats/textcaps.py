"""TextCaps's captions, which read what is written in a picture: ``TextCaps_0.1_train.json``, each caption a record.

Source: Sidorov et al. 2020 (arXiv 2003.12462); https://textvqa.org/textcaps/dataset.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tinygptv.data.annotations import Annotation, annotated, found
from tinygptv.data.entries import entries_of_member, id_of, value_of
from tinygptv.data.formats.textvqa import ENTRIES, images_of
from tinygptv.data.recognise import Recognised, recognised_member
from tinygptv.data.source import Found, Rejection, Source
from tinygptv.data.tables import JSON_FILES, record_files

if TYPE_CHECKING:
    from tinygptv.data.recognise import Look

CAPTION = "caption_str"
FILE = "TextCaps_0.1_train.json"


def read(source: Source) -> Iterator[Found | Rejection]:
    """The captions with their images.

    Raises:
        DataError: a file is damaged, has no `data`, or is of another split than the profile's `part`.
    """
    files, part = record_files(source, JSON_FILES), source.settings.part or ""
    items = (item for path in files for item in entries_of_member(path, ENTRIES, FILE, part))
    return found(source, annotated(items, _caption))


def recognise(look: Look) -> Recognised | None:
    """A JSON object whose `data` have an `image_id` and a `caption_str`."""
    return recognised_member(look, ENTRIES, ("image_id", CAPTION))


def _caption(content: dict[str, Any], place: str) -> Annotation:
    name = id_of(content, "image_id", place)
    caption = value_of(content, CAPTION, str, place)
    return Annotation(id=name, images=images_of(name), question="", answer=caption, task="caption")

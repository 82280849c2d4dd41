"""The captions of MiniGPT-4's second stage, on which the paper's third one trains: ``filter_cap.json`` and its images.

Source: README_2_STAGE.md of github.com/Vision-CAIR/MiniGPT-4. Captions are trained on as they are written; what they
are asked with are the four prompts of alignment (``SET/align`` in a mixture).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tinygptv.data.annotations import Annotation, annotated, found
from tinygptv.data.entries import entries_of_member, id_of, no_part, value_of
from tinygptv.data.recognise import Recognised, recognised_member
from tinygptv.data.source import Found, Rejection, Source
from tinygptv.data.tables import JSON_FILES, record_files

if TYPE_CHECKING:
    from tinygptv.data.recognise import Look

ENTRIES = "annotations"
FILE = "filter_cap.json"


def read(source: Source) -> Iterator[Found | Rejection]:
    """The captions with their images.

    Raises:
        DataError: a file is damaged or has no `annotations`.
    """
    no_part(source.settings.part, "cc_sbu_align")
    files = record_files(source, JSON_FILES)
    items = (item for path in files for item in entries_of_member(path, ENTRIES, FILE))
    return found(source, annotated(items, _caption))


def recognise(look: Look) -> Recognised | None:
    """A JSON object whose `annotations` have an `image_id` and a `caption`, and that lists no `images`."""
    return recognised_member(look, ENTRIES, ("image_id", "caption"), but="images")


def _caption(content: dict[str, Any], place: str) -> Annotation:
    name = id_of(content, "image_id", place)
    return Annotation(
        id=name,
        images=(f"image/{name}.jpg", f"{name}.jpg"),
        question="",
        answer=value_of(content, "caption", str, place),
        task="caption",
    )

"""MiniGPT-v2's three files of Flickr30k, whose texts have boxes; the keys of an entry say which of them it is of.

| file | keys | task | asked with | answer |
|---|---|---|---|---|
| ``groundedcaption.json`` | `image_id`, `grounded_caption` | grounding | the task's own prompts | the caption |
| ``captiontobbox.json`` | `image_id`, `caption`, `output` | detection | the caption | `output` |
| ``phrasetobbox.json`` | `image_id`, `phrase`, `bbox` | detection | the phrase | ``<p>phrase</p> bbox`` |

Texts are trained on as they are written. Source: README_MINIGPTv2_FINETUNE.md and ``flickr.py`` of
github.com/Vision-CAIR/MiniGPT-4.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tinygptv.data.annotations import Annotation, annotated, found
from tinygptv.data.conversations import boxes_in
from tinygptv.data.entries import id_of, no_part, value_of
from tinygptv.data.json_items import read_items
from tinygptv.data.records import Turn
from tinygptv.data.source import Found, Rejection, Source
from tinygptv.data.tables import JSON_FILES, record_files
from tinygptv.ground.errors import DataError

if TYPE_CHECKING:
    from tinygptv.config import Task

FOLDER = "flickr30k-images"
"""In which the images lie where Flickr30k's archive was unpacked."""


def read(source: Source) -> Iterator[Found | Rejection]:
    """The entries of all files with their images.

    Raises:
        DataError: a file is damaged or no list.
    """
    no_part(source.settings.part, "flickr30k")
    files = record_files(source, JSON_FILES)
    return found(source, annotated((item for path in files for item in read_items(path)), _annotation))


def _annotation(content: dict[str, Any], place: str) -> Annotation:
    name = id_of(content, "image_id", place)
    task, turn = _asked(content, place)
    if not (boxes := boxes_in((turn,))):
        raise DataError(f"{place}: the answer names no box such as {{<10><20><30><40>}}")
    images = (f"{name}.jpg", f"{FOLDER}/{name}.jpg")
    return Annotation(id=name, images=images, question=turn.question, answer=turn.answer, task=task, boxes=boxes)


def _asked(content: dict[str, Any], place: str) -> tuple[Task, Turn]:
    if "grounded_caption" in content:
        return "grounding", Turn("", value_of(content, "grounded_caption", str, place))
    if "phrase" in content:
        phrase, box = (value_of(content, key, str, place) for key in ("phrase", "bbox"))
        return "detection", Turn(phrase, f"<p>{phrase}</p> {box}")
    if "output" in content:
        return "detection", Turn(value_of(content, "caption", str, place), value_of(content, "output", str, place))
    raise DataError(f"{place} has neither `grounded_caption`, nor `caption` and `output`, nor `phrase` and `bbox`")

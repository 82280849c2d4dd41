"""Unnatural Instructions as MiniGPT-v2 trains on it: instructions without a picture, and what answers them.

Source: Honovich et al. 2022 (arXiv 2212.09689); README_MINIGPTv2_FINETUNE.md and ``unnatural_instruction.py`` of
github.com/Vision-CAIR/MiniGPT-4, which reads the first instance of each entry, and so does this.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tinygptv.data.annotations import Annotation, annotated
from tinygptv.data.entries import no_part, value_of
from tinygptv.data.json_items import read_items
from tinygptv.data.recognise import Recognised, object_files
from tinygptv.data.records import Record, Turn
from tinygptv.data.source import Found, Rejection, Source
from tinygptv.data.tables import JSON_FILES, record_files
from tinygptv.ground.errors import DataError

if TYPE_CHECKING:
    from tinygptv.data.recognise import Look


def read(source: Source) -> Iterator[Found | Rejection]:
    """The instructions as conversations of one question, which have no image.

    Raises:
        DataError: a file is damaged or no list.
    """
    no_part(source.settings.part, "unnatural_instructions")
    files = record_files(source, JSON_FILES)
    for item in annotated((item for path in files for item in read_items(path)), _instruction):
        if isinstance(item, dict):
            yield item
        else:
            yield Found(Record(item.id, item.task, (Turn(item.question, item.answer),)), None)


def recognise(look: Look) -> Recognised | None:
    """A list whose entries have `instances`, the first of which has an `instruction_with_input`."""
    files = object_files(look, JSON_FILES, lambda entries: all(map(_fits, entries)))
    if not files:
        return None
    file = next(iter(files))
    why = f"the entries of {file.name} have `instances` with `instruction_with_input`"
    return Recognised(why=why, files=tuple(files), images=None)


def _fits(entry: dict[str, Any]) -> bool:
    listed = entry.get("instances")
    first = listed[0] if isinstance(listed, list) and listed else None
    return isinstance(first, dict) and "instruction_with_input" in first


def _instruction(content: dict[str, Any], place: str) -> Annotation:
    instances: list[Any] = value_of(content, "instances", list, place)
    if not instances or not isinstance(instances[0], dict):
        raise DataError(f"{place}: `instances` must begin with an object")
    first = instances[0]
    asked = value_of(first, "instruction_with_input", str, place)
    if first.get("constraints") is not None:
        asked = f"{asked} {value_of(first, 'constraints', str, place)}"
    answer = value_of(first, "output", str, place)
    return Annotation(id=place, images=(), question=asked, answer=answer, task="conversation")

"""LLaVA's JSON: conversations about pictures in a folder (github.com/haotian-liu/LLaVA, docs/Finetune_Custom_Data.md).

docs/data.md says what is read, what is refused and why. Ids need not be unique: LLaVA's own files repeat them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any

from tinygptv.data.coco import image_names
from tinygptv.data.conversations import kind, records_of, rejection, role_of, turns_of
from tinygptv.data.json_items import JsonItem, read_items
from tinygptv.data.named_pictures import one_picture
from tinygptv.data.recognise import Recognised, folder_of_pictures, object_files
from tinygptv.data.record_names import RecordNames, own_id
from tinygptv.data.record_rules import RecordError
from tinygptv.data.records import Turn
from tinygptv.data.source import Found, ImageFile, Rejection, Source
from tinygptv.data.tables import JSON_FILES, record_files

if TYPE_CHECKING:
    from tinygptv.data.recognise import Look

_NUMBER = re.compile(r"\d{12}", re.ASCII)


def read(source: Source) -> Iterator[Found | Rejection]:
    """The records of all files.

    Raises:
        DataError: a file is no JSON.
    """
    with closing(RecordNames()) as names:
        for path in record_files(source, JSON_FILES):
            for item in read_items(path):
                told = item.place
                try:
                    content = _object(item)
                    own = own_id(content)
                    told = own or told
                    name = names.of(own, content)
                    image = one_picture(_pictures(content), source) or _by_number(own, source)
                    yield from records_of(name, _turns(content, has_picture=image is not None), image, source)
                except RecordError as error:
                    yield rejection(told, error.reason)
                except RecursionError:
                    yield rejection(told, "is nested too deeply")


def recognise(look: Look) -> Recognised | None:
    """JSON whose entries have `conversations`, and no list of `images` beside them, which `messages` reads."""
    files = object_files(look, JSON_FILES, _fits)
    if not files:
        return None
    file, entries = next(iter(files.items()))
    named = [name for entry in entries for name in _pictures(entry)]
    return Recognised(
        why=f"the entries of {file.name} have `conversations`" + (" and `image`" if named else " and no picture"),
        files=tuple(files),
        images=folder_of_pictures(look, file, named),
    )


def _fits(entries: list[dict[str, Any]]) -> bool:
    return all(
        isinstance(listed := entry.get("conversations"), list)
        and all(isinstance(turn, dict) and ("from" in turn or "role" in turn) for turn in listed)
        and not entry.keys() & {"images", "objects", "messages", "video"}
        for entry in entries
    )


def _object(item: JsonItem) -> dict[str, Any]:
    if item.problem:
        raise RecordError(item.problem, item.place)
    if not isinstance(item.content, dict):
        raise RecordError(f"a record is an object with `conversations`, not {kind(item.content)}", item.place)
    return item.content


def _pictures(content: dict[str, Any]) -> list[object]:
    """What a record says of its pictures."""
    if content.get("video"):
        raise RecordError("is about a video; only pictures can be trained on", "")
    given = [content[key] for key in ("image", "images") if content.get(key) not in (None, "", [])]
    return given[0] if given and isinstance(given[0], list) else given[:1]


def _by_number(own: str, source: Source) -> ImageFile | None:
    """COCO's picture of which a record that names none has the number as its id: MiniGPT-v2's authors go by that."""
    names = image_names(int(own)) if source.settings.images and _NUMBER.fullmatch(own) else ()
    return next((file for name in names if (file := source.image(name))), None)


def _turns(content: dict[str, Any], *, has_picture: bool) -> tuple[Turn, ...]:
    listed = content.get("conversations")
    if not isinstance(listed, list):
        raise RecordError(f"`conversations` must be a list of turns, not {kind(listed)}", "")
    said = [_said(turn, place) for place, turn in enumerate(listed, start=1)]
    system = content.get("system_prompt") or ""
    if not isinstance(system, str):
        raise RecordError(f"`system_prompt` must be text, not {kind(system)}", "")
    return turns_of(said, has_picture=has_picture, system=system)


def _said(turn: Any, place: int) -> tuple[str, str]:
    """Whose turn it is, and what is said."""
    if not isinstance(turn, dict):
        raise RecordError(f"turn {place} must be an object with `from` and `value`, not {kind(turn)}", "")
    role = role_of(turn.get("from", turn.get("role")), place)
    text = turn.get("value", turn.get("content"))
    if not isinstance(text, str):
        raise RecordError(f"turn {place}: `value` must be text, not {kind(text)}", "")
    return role, text

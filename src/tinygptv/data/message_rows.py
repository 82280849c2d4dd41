"""What an entry of conversations says, in the variants of ShareGPT, OpenAI, LLaMA-Factory and ms-swift.

Sources: LLaMA-Factory's data/README.md; ms-swift's docs, "Custom dataset"; the content lists of OpenAI and TRL.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tinygptv.data.conversations import ANSWERS, ASKS, PICTURE, kind, role_of, turns_of
from tinygptv.data.record_rules import MAX_NAME, RecordError
from tinygptv.data.records import Turn
from tinygptv.data.tasks import is_blank

LISTS = ("messages", "conversations", "conversation")
ASKED = ("query", "instruction", "prompt")
ANSWERED = ("response", "output", "completion")
SYSTEMS = ("system", "system_prompt")
IMAGES = ("images", "image")
OTHERS = ("videos", "video", "audios", "audio")
_PAIRS = (("human", "assistant"), ("user", "assistant"), ("human", "gpt"), ("query", "response"))
"""Keys of a question and its answer, where one object of the list has both."""
_INLINE = ("image", "image_url", "url", "path")
_TEXT_PARTS = ("text", "input_text", "output_text")
_IMAGE_PARTS = ("image", "image_url", "input_image")


@dataclass(frozen=True, slots=True)
class Tags:
    """What turns call who speaks and what is said, where they do so in their own way."""

    who: str = ""
    text: str = ""
    roles: Mapping[str, str] = field(default_factory=dict)
    """A word for who speaks → one that ``role_of`` knows."""


@dataclass(frozen=True, slots=True)
class ByOrder:
    """A part that is the next of the entry's pictures."""


@dataclass(frozen=True, slots=True)
class Said:
    """A turn: the role, the text, and the pictures that stand in it as parts: names, places, or by their order."""

    role: str
    text: str
    pictures: tuple[str | int | ByOrder, ...] = ()


def turns_said(content: Mapping[str, Any], tags: Tags) -> list[Said]:
    """The turns of an entry, whichever way it has them.

    Raises:
        RecordError: it has none, or one that cannot be read.
    """
    if (listed := _first(content, LISTS)) is not None:
        return list(_of_list(listed, tags))
    asked, answered = _first(content, ASKED), _first(content, ANSWERED)
    if asked is None and answered is None:
        keys = ", ".join(content)[:MAX_NAME] or "nothing"
        known = ", ".join(f"`{name}`" for name in (*LISTS[:2], *ASKED[:2]))
        raise RecordError(f"has no conversation: none of {known}; it has {keys}", "")
    if isinstance(asked, list) and isinstance(answered, list):
        return [*_of_list(asked, tags), *_of_list(answered, tags)]
    question = _text(asked, "the question")
    if not is_blank(more := _text(content.get("input"), "`input`")):
        question = f"{question}\n{more}" if question else more
    return [*_history(content), Said(ASKS, question), Said(ANSWERS, _text(answered, "the answer"))]


def turns_in(content: Mapping[str, Any], *, has_picture: bool, where: str) -> tuple[Turn, ...]:
    """Questions and answers of an entry whose picture is known.

    Args:
        content: the entry.
        has_picture: whether it has one.
        where: what would name it.

    Raises:
        RecordError: it has no conversation, or one that cannot be read.
    """
    said = [(turn.role, turn.text) for turn in turns_said(content, Tags())]
    return turns_of(said, has_picture=has_picture, system=system_of(content), where=where)


def system_of(content: Mapping[str, Any]) -> str:
    """What stands before the first question, where it is no turn."""
    return _text(_first(content, SYSTEMS), "`system`")


def pictures_of(content: Mapping[str, Any], said: Sequence[Said]) -> list[object]:
    """The names of an entry's pictures, as its parts or its marks have them.

    Raises:
        RecordError: parts or marks are not as many as pictures, or it has a video or sound.
    """
    for key in OTHERS:
        if content.get(key):
            raise RecordError(f"has `{key}`; only pictures can be trained on", "")
    given: Any = next((content[key] for key in IMAGES if content.get(key) not in (None, "", [])), [])
    listed = [_name(one) for one in (given if isinstance(given, list) else [given])]
    if any(turn.pictures and turn.role == ANSWERS for turn in said):
        raise RecordError("an answer has a picture; only questions can have one", "")
    parts = [part for turn in said for part in turn.pictures]
    if not parts:
        marks = sum(turn.text.count(PICTURE) for turn in said if turn.role != ANSWERS)
        if marks and listed and marks != len(listed):
            told = f"has {_count(marks, f'mark {PICTURE}', f'marks {PICTURE}')} and {_pictures(len(listed))}"
            raise RecordError(f"{told}; write one mark for each picture, or none", "")
        return listed
    ordered = sum(isinstance(part, ByOrder) for part in parts)
    if ordered and ordered != len(listed):
        raise RecordError(f"has {_count(ordered, 'part', 'parts')} of type image and {_pictures(len(listed))}", "")
    rest = iter(listed)
    names = [next(rest) if isinstance(part, ByOrder) else _placed(part, listed) for part in parts]
    return [name for place, name in enumerate(names) if name not in names[:place]]


def _of_list(listed: Any, tags: Tags) -> Iterator[Said]:
    if not isinstance(listed, list):
        raise RecordError(f"its messages must be a list of turns, not {kind(listed)}", "")
    for place, turn in enumerate(listed, start=1):
        if not isinstance(turn, dict):
            raise RecordError(f"turn {place} must be an object with `role` and `content`, not {kind(turn)}", "")
        pair = next((pair for pair in _PAIRS if pair[1] in turn and pair[0] in turn), None)
        if pair is not None and not {"role", "from", tags.who} & turn.keys():
            yield Said(ASKS, _text(turn[pair[0]], f"turn {place}: `{pair[0]}`"))
            yield Said(ANSWERS, _text(turn[pair[1]], f"turn {place}: `{pair[1]}`"))
        else:
            yield _turn(turn, place, tags)


def _turn(turn: Mapping[str, Any], place: int, tags: Tags) -> Said:
    who = turn.get(tags.who) if tags.who else turn.get("role", turn.get("from"))
    role = role_of(tags.roles.get(who, who) if isinstance(who, str) else who, place)
    said = turn.get(tags.text) if tags.text else turn.get("content", turn.get("value"))
    if not isinstance(said, list):
        if not isinstance(said, str):
            raise RecordError(f"turn {place}: `content` must be text or a list of parts, not {kind(said)}", "")
        return Said(role, said)
    parts = [_part(part, place) for part in said]
    pictures = tuple(part[1] for part in parts if part[1] is not None)
    return Said(role, "".join(part[0] for part in parts), pictures)


def _part(part: Any, place: int) -> tuple[str, str | int | ByOrder | None]:
    """A part of a turn: its text, or its picture."""
    if isinstance(part, str):
        return part, None
    if not isinstance(part, dict):
        raise RecordError(f"turn {place}: a part must be text or an object with `type`, not {kind(part)}", "")
    sort = part.get("type")
    if sort is None:
        sort = "text" if isinstance(part.get("text"), str) else next((key for key in _INLINE if part.get(key)), None)
    if sort in _TEXT_PARTS:
        return _text(part.get("text"), f"turn {place}: the text of a part"), None
    if sort not in (*_IMAGE_PARTS, "url", "path"):
        told = f"of type {sort[:MAX_NAME]!r}" if isinstance(sort, str) else "without a `type`"
        raise RecordError(f"turn {place} has a part {told}; known are text, image, image_url", "")
    if (inline := next((part[key] for key in _INLINE if part.get(key)), None)) is not None:
        name = _name(inline)
        if not isinstance(name, str):
            raise RecordError(f"turn {place}: the picture of a part must be the name of a file, not {kind(name)}", "")
        return "", name
    index = part.get("index")
    return "", index if isinstance(index, int) and not isinstance(index, bool) else ByOrder()


def _placed(part: str | int | ByOrder, listed: Sequence[object]) -> object:
    """The picture that a part names, or whose place it names."""
    if not isinstance(part, int):
        return part
    if not 0 <= part < len(listed):
        raise RecordError(f"has a part with the index {str(part)[:20]}, from 0 on, and {_pictures(len(listed))}", "")
    return listed[part]


def _history(content: Mapping[str, Any]) -> Iterator[Said]:
    """Earlier questions and answers, each a list of the two."""
    earlier = content.get("history") or []
    if not isinstance(earlier, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in earlier):
        raise RecordError("`history` must be a list of [question, answer]", "")
    for question, answer in earlier:
        yield Said(ASKS, _text(question, "a question in `history`"))
        yield Said(ANSWERS, _text(answer, "an answer in `history`"))


def _name(given: object) -> object:
    """The name of a picture that an object may hold."""
    if isinstance(given, dict):
        return next((given[key] for key in ("path", "url", "image") if isinstance(given.get(key), str)), given)
    return given


def _first(content: Mapping[str, Any], keys: Sequence[str]) -> Any:
    return next((content[key] for key in keys if content.get(key) is not None), None)


def _text(value: object, what: str) -> str:
    if value is not None and not isinstance(value, str):
        raise RecordError(f"{what} must be text, not {kind(value)}", "")
    return value or ""


def _count(number: int, one: str, several: str) -> str:
    return f"{number} {one if number == 1 else several}"


def _pictures(number: int) -> str:
    return _count(number, "picture", "pictures")

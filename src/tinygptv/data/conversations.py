"""What forms of conversations share: whose turn it is, the mark of a picture, and the records that become of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from tinygptv.config import Task
from tinygptv.data.boxes import find_boxes, widened
from tinygptv.data.record_rules import MAX_NAME, RecordError
from tinygptv.data.records import Record, Turn
from tinygptv.data.source import Found, ImageFile, Rejection, Source
from tinygptv.data.tasks import is_blank, takes_question

PICTURE = "<image>"
"""Where a text has its picture."""
ASKS, ANSWERS, SYSTEM = "question", "answer", "system"
ROLES = {"human": ASKS, "user": ASKS, "gpt": ANSWERS, "assistant": ANSWERS, "system": SYSTEM}
_MARK = re.compile(rf"[ \t]*{PICTURE}[ \t]*")


def role_of(who: object, place: int) -> str:
    """Whose turn it is: ``ASKS``, ``ANSWERS`` or ``SYSTEM``.

    Raises:
        RecordError: nobody who is known.
    """
    role = ROLES.get(who.strip().lower()) if isinstance(who, str) else None
    if role is None:
        told = f"is from {who[:MAX_NAME]!r}" if isinstance(who, str) else "does not say whom it is `from`"
        raise RecordError(f"turn {place} {told}; known are {', '.join(ROLES)}", "")
    return role


def turns_of(
    said: Sequence[tuple[str, str]], *, has_picture: bool, system: str = "", where: str = "image"
) -> tuple[Turn, ...]:
    """Questions and answers in turn, without the mark of the picture; it stands before the first question.

    Args:
        said: role and text of each turn; the first may be of the system.
        has_picture: whether the record has one.
        system: what stands before the first question, where it is no turn.
        where: the key that would name a picture.

    Raises:
        RecordError: they do not alternate, an answer is missing or empty, or a mark has no picture.
    """
    first = 0
    if said and said[0][0] == SYSTEM:
        first, system = 1, said[0][1]
    for place, (role, text) in enumerate(said[first:], start=first + 1):
        if role != (ASKS if (place - first) % 2 else ANSWERS):
            before = f"comes after {_a(said[place - 2][0])}" if place - first > 1 else "is the first"
            raise RecordError(f"turn {place} is {_a(role)} and {before}: questions and answers must alternate", "")
        if role == ANSWERS and is_blank(text):
            raise RecordError(f"turn {place}: the answer is empty", "")
    if len(said) == first:
        raise RecordError("the conversation has no question", "")
    if (len(said) - first) % 2:
        raise RecordError("the last question has no answer", "")
    questions = [text for role, text in said[first:] if role == ASKS]
    answers = [text for role, text in said[first:] if role == ANSWERS]
    if not has_picture and any(PICTURE in text for text in (system, *questions)):
        raise RecordError(f"a question has {PICTURE}, but the record names no picture in `{where}`", "")
    questions = [without_mark(question) for question in questions]
    if not is_blank(system := without_mark(system)):
        questions[0] = f"{system}\n{questions[0]}"
    return tuple(Turn(question, answer) for question, answer in zip(questions, answers, strict=True))


def records_of(name: str, turns: tuple[Turn, ...], image: ImageFile | bytes | None, source: Source) -> Iterator[Found]:
    """A conversation as one record, or, where the profile names a task, each of its turns as one of that task.

    Raises:
        RecordError: it asks nothing, or has no picture to ask about.
    """
    task: Task = source.settings.task or "conversation"
    if task == "conversation":
        if is_blank(turns[0].question):
            raise RecordError(f"asks nothing beside {PICTURE}; a `task` such as caption would ask by itself", name)
        yield Found(Record(name, task, turns, boxes_in(turns)), image)
        return
    if image is None:
        raise RecordError(f"has no picture, and the task {task} asks about one", name)
    for number, turn in enumerate(turns, start=1):
        asked = Turn(turn.question if takes_question(task) else "", turn.answer)
        of_turn = name if len(turns) == 1 else f"{name}-{number}"
        yield Found(Record(of_turn, task, (asked,), boxes_in((asked,))), image)


def without_mark(question: str) -> str:
    """A question without the mark of its picture and the line break that parts them; any other text as it is."""
    return _MARK.sub(" ", question).strip(" \t\r\n") if PICTURE in question else question


def boxes_in(turns: tuple[Turn, ...]) -> tuple[Any, ...]:
    """The boxes that texts name, each once."""
    found = [box for turn in turns for box in find_boxes(f"{turn.question}\n{turn.answer}")]
    return tuple(dict.fromkeys(widened(box) for box in found))


def rejection(name: str, reason: str) -> Rejection:
    """A record that is left out, with a name and a reason that can be printed."""
    shown = name[:MAX_NAME] if name.isprintable() else ascii(name)[:MAX_NAME]
    return {"id": shown, "reason": visible(reason)}


def visible(text: str) -> str:
    """A text for a terminal: what cannot be seen, such as a mark that reorders text, as Python writes it."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def kind(value: Any) -> str:
    """What a JSON value is, in words of JSON."""
    kinds = {type(None): "null", bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list"}
    return kinds.get(type(value), "an object")


def _a(role: str) -> str:
    return f"an {role}" if role == ANSWERS else f"a {role}"

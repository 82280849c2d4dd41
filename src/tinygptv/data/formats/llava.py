"""LLaVA's JSON: conversations about pictures in a folder (github.com/haotian-liu/LLaVA, docs/Finetune_Custom_Data.md).

docs/data.md says what is read, what is refused and why. Ids need not be unique: LLaVA's own files repeat them.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import Any

from tinygptv.config import Task
from tinygptv.data.boxes import find_boxes, widened
from tinygptv.data.json_items import JsonItem, read_items
from tinygptv.data.record_rules import MAX_NAME, RecordError
from tinygptv.data.records import Record, Turn
from tinygptv.data.source import Found, ImageFile, Rejection, Source
from tinygptv.data.tasks import is_blank, takes_question
from tinygptv.ground.files import canonical

PICTURE = "<image>"
ASKS, ANSWERS, SYSTEM = "question", "answer", "system"
ROLES = {"human": ASKS, "user": ASKS, "gpt": ANSWERS, "assistant": ANSWERS, "system": SYSTEM}
_MARK = re.compile(rf"[ \t]*{PICTURE}[ \t]*")
_NAME_DIGITS = 16


def read(source: Source) -> Iterator[Found | Rejection]:
    """The records of all files.

    Raises:
        DataError: a file is no JSON.
    """
    with closing(_Names()) as names:
        for path in source.files:
            for item in read_items(path):
                told = item.place
                try:
                    content = _object(item)
                    told = _own_name(content) or told
                    yield from _records(names.of(content), content, source)
                except RecordError as error:
                    yield _rejection(told, error.reason)
                except RecursionError:
                    yield _rejection(told, "is nested too deeply")


def _records(name: str, content: dict[str, Any], source: Source) -> Iterator[Found]:
    """A conversation as one record, or, where the profile names a task, each of its turns as one of that task."""
    task: Task = source.settings.task or "conversation"
    image = _picture(content, source)
    turns = _turns(content, has_picture=image is not None)
    if task == "conversation":
        if is_blank(turns[0].question):
            raise RecordError(f"asks nothing beside {PICTURE}; a `task` such as caption would ask by itself", name)
        yield Found(Record(name, task, turns, _boxes(turns)), image)
        return
    if image is None:
        raise RecordError(f"has no picture, and the task {task} asks about one", name)
    for number, turn in enumerate(turns, start=1):
        asked = Turn(turn.question if takes_question(task) else "", turn.answer)
        of_turn = name if len(turns) == 1 else f"{name}-{number}"
        yield Found(Record(of_turn, task, (asked,), _boxes((asked,))), image)


def _rejection(name: str, reason: str) -> Rejection:
    shown = name[:MAX_NAME] if name.isprintable() else ascii(name)[:MAX_NAME]
    return {"id": shown, "reason": reason}


def _object(item: JsonItem) -> dict[str, Any]:
    if item.problem:
        raise RecordError(item.problem, item.place)
    if not isinstance(item.content, dict):
        raise RecordError(f"a record is an object with `conversations`, not {_kind(item.content)}", item.place)
    return item.content


def _own_name(content: dict[str, Any]) -> str:
    """The id that a record has itself; empty where it has none."""
    given = content.get("id")
    if given is not None and (isinstance(given, bool) or not isinstance(given, str | int)):
        raise RecordError(f"`id` must be text or a whole number, not {_kind(given)}", "")
    return "" if given is None else str(given)


def _turns(content: dict[str, Any], *, has_picture: bool) -> tuple[Turn, ...]:
    """Questions and answers in turn, without the placeholder of the picture; it stands before the first question."""
    listed = content.get("conversations")
    if not isinstance(listed, list):
        raise RecordError(f"`conversations` must be a list of turns, not {_kind(listed)}", "")
    said = [_said(turn, place) for place, turn in enumerate(listed, start=1)]
    system = content.get("system_prompt") or ""
    if not isinstance(system, str):
        raise RecordError(f"`system_prompt` must be text, not {_kind(system)}", "")
    first = 0
    if said and said[0][0] == SYSTEM:
        first, system = 1, said[0][1]
    for place, (role, _) in enumerate(said[first:]):
        if role != (ANSWERS if place % 2 else ASKS):
            here = place + first + 1
            before = f"comes after {_a(said[here - 2][0])}" if place else "is the first"
            raise RecordError(f"turn {here} is {_a(role)} and {before}: questions and answers must alternate", "")
    if len(said) == first:
        raise RecordError("`conversations` has no question", "")
    if (len(said) - first) % 2:
        raise RecordError("the last question has no answer", "")
    questions = [text for role, text in said[first:] if role == ASKS]
    answers = [text for role, text in said[first:] if role == ANSWERS]
    if not has_picture and any(PICTURE in question for question in questions):
        raise RecordError(f"a question has {PICTURE}, but the record names no picture in `image`", "")
    questions = [_without_mark(question) for question in questions]
    if not is_blank(system):
        questions[0] = f"{system}\n{questions[0]}"
    return tuple(Turn(question, answer) for question, answer in zip(questions, answers, strict=True))


def _said(turn: Any, place: int) -> tuple[str, str]:
    """Whose turn it is, and what is said."""
    if not isinstance(turn, dict):
        raise RecordError(f"turn {place} must be an object with `from` and `value`, not {_kind(turn)}", "")
    who, text = turn.get("from", turn.get("role")), turn.get("value", turn.get("content"))
    role = ROLES.get(who.strip().lower()) if isinstance(who, str) else None
    if role is None:
        told = f"is from {who[:MAX_NAME]!r}" if isinstance(who, str) else "does not say whom it is `from`"
        raise RecordError(f"turn {place} {told}; known are {', '.join(ROLES)}", "")
    if not isinstance(text, str):
        raise RecordError(f"turn {place}: `value` must be text, not {_kind(text)}", "")
    if role == ANSWERS and is_blank(text):
        raise RecordError(f"turn {place}: the answer is empty", "")
    return role, text


def _without_mark(question: str) -> str:
    """A question without the placeholder and the line break that parts them; any other text stays as it is."""
    return _MARK.sub(" ", question).strip(" \t\r\n") if PICTURE in question else question


def _picture(content: dict[str, Any], source: Source) -> ImageFile | None:
    """The picture of a record, or the first of several where the profile says so; None where it has none."""
    if content.get("video"):
        raise RecordError("is about a video; only pictures can be trained on", "")
    given = [content[key] for key in ("image", "images") if content.get(key) not in (None, "", [])]
    names = given[0] if given and isinstance(given[0], list) else given[:1]
    for name in names:
        if not isinstance(name, str) or is_blank(name):
            raise RecordError(f"`image` must be the name of a file, not {_kind(name)}", "")
    if not names:
        return None
    if len(names) > 1 and source.settings.several_images != "first":
        raise RecordError(
            f"has {len(names)} pictures, and one is the most; `several_images: first` takes the first", ""
        )
    return _find(names[0], source)


def _find(name: str, source: Source) -> ImageFile:
    """A picture by its name in a record: below the folder of images, from which it must not lead out."""
    folder, shown = source.settings.images, repr(name[:MAX_NAME])
    if not folder:
        raise RecordError(f"names the picture {shown}, but the data set has no folder `images`", "")
    if "://" in name or name.startswith("data:"):
        raise RecordError("its picture is an address; get the pictures, and name their files", "")
    inside = _inside(name, source.images)
    found = None if inside is None else source.image(inside)
    if found is None and "\\" in name and (inside := _inside(name.replace("\\", "/"), source.images)) is not None:
        found = source.image(inside)
    if inside is None:
        raise RecordError(f"its picture {shown} lies outside of the folder {folder}; name a file below it", "")
    if found is None:
        raise RecordError(f"its picture {shown} is not in the folder {folder}", "")
    return found


def _inside(name: str, folder: Path) -> str | None:
    """A picture's name from the folder of images on; None where it leads out of it."""
    path = PurePosixPath(name)
    if ".." in path.parts:
        return None
    if path.is_absolute():
        above = next((base for base in (folder.absolute(), folder.resolve()) if path.is_relative_to(base)), None)
        return None if above is None else path.relative_to(above).as_posix()
    return posixpath.normpath(name)


def _boxes(turns: tuple[Turn, ...]) -> tuple[Any, ...]:
    """The boxes that texts name, each once."""
    found = [box for turn in turns for box in find_boxes(f"{turn.question}\n{turn.answer}")]
    return tuple(dict.fromkeys(widened(box) for box in found))


class _Names:
    """Names of records, each given once. What was seen lies in a file without a name, not in memory."""

    def __init__(self) -> None:
        self._base = sqlite3.connect("", isolation_level=None)
        for pragma in ("journal_mode = OFF", "cache_size = -65536"):
            self._base.execute(f"PRAGMA {pragma}")
        self._base.execute("CREATE TABLE records (content BLOB PRIMARY KEY) WITHOUT ROWID")
        self._base.execute("CREATE TABLE names (name BLOB PRIMARY KEY, times INTEGER) WITHOUT ROWID")

    def of(self, content: dict[str, Any]) -> str:
        """The id of a record, with a number where others before have it too; without one, a digest of the content.

        Raises:
            RecordError: the same record stood before.
        """
        whole = hashlib.sha256(canonical(content).encode(errors="surrogatepass"))
        name = _own_name(content) or whole.hexdigest()[:_NAME_DIGITS]
        if not self._base.execute("INSERT OR IGNORE INTO records VALUES (?)", (whole.digest(),)).rowcount:
            raise RecordError("the same record stands twice", name)
        key = hashlib.sha256(name.encode(errors="surrogatepass")).digest()
        counted = "INSERT INTO names VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET times = times + 1 RETURNING times"
        times = self._base.execute(counted, (key,)).fetchone()[0]
        return name if times == 1 else f"{name}#{times}"

    def close(self) -> None:
        """Forget them."""
        self._base.close()


def _a(role: str) -> str:
    return f"an {role}" if role == ANSWERS else f"a {role}"


def _kind(value: Any) -> str:
    """What a JSON value is, in words of JSON."""
    kinds = {type(None): "null", bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list"}
    return kinds.get(type(value), "an object")

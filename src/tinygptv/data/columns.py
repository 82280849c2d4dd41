"""Tables of pictures and texts: which column is what, and the record that a row becomes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tinygptv.data.conversations import boxes_in, kind
from tinygptv.data.record_rules import RecordError
from tinygptv.data.records import Record, Turn
from tinygptv.data.source import Found, ImageFile
from tinygptv.data.tasks import is_blank, takes_question
from tinygptv.ground.errors import DataError

if TYPE_CHECKING:
    from tinygptv.config import DataSet, Task

USUAL: Mapping[str, tuple[str, ...]] = {
    "image": (
        *("image", "images", "img", "picture", "photo", "image_path", "image_file", "image_name", "image_bytes"),
        *("img_path", "file_name", "filename", "file", "file_path", "filepath", "path", "jpg", "jpeg", "png", "webp"),
    ),
    "question": ("question", "query", "instruction", "prompt", "input"),
    "answer": (
        *("answer", "answers", "response", "output", "caption", "captions", "text", "description"),
        *("short_answer", "label_text", "sentence", "sentences", "alt_text", "title", "comment", "reply"),
    ),
    "id": ("id", "question_id", "sample_id", "uid", "key"),
    "split": ("split",),
}
"""What columns are called, whatever the case; the first that is there is taken."""
SHOWN = 20
"""Columns that a message names."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Names of a table's columns; empty where it has none."""

    image: str
    question: str
    answer: str
    id: str
    split: str


def columns_of(names: Collection[str], settings: DataSet, where: str) -> Columns:
    """Which columns of a table are what: those that the profile names, else those of usual names.

    Args:
        names: its columns.
        settings: of the data set.
        where: what to call the table.

    Raises:
        DataError: a column that the profile names is not there.
    """
    by_lower = {name.strip().lower().replace(" ", "_"): name for name in reversed(list(names))}
    found: dict[str, str] = {}
    for role, usual in USUAL.items():
        given: str | None = dict(settings.columns).get(role)  # type: ignore[call-overload]
        if given is not None and given not in names:
            raise DataError(f"{where} has no column {given!r}; there are {_listed(names)}: correct `columns.{role}`")
        taken = found.values()
        free = (by_lower[name] for name in usual if name in by_lower and by_lower[name] not in taken)
        found[role] = given if given is not None else next(free, "")
    return Columns(**found)


def check_columns(columns: Columns, names: Collection[str], where: str) -> None:
    """Check that a table has pictures and answers.

    Raises:
        DataError: it has a column of neither name.
    """
    for role, what in (("image", "pictures"), ("answer", "answers or captions")):
        if not getattr(columns, role):
            raise DataError(
                f"{where} has no column of {what} by a usual name; there are {_listed(names)}: say which it is, "
                f"`columns: {{{role}: NAME}}` of the data set"
            )


def pair_of(
    name: str, row: Mapping[str, Any], columns: Columns, image: ImageFile | bytes | None, given: Task | None
) -> Found:
    """The record of a row: a question and its answer, or a caption where there is no question.

    Args:
        name: its id.
        row: its cells.
        columns: which are what.
        image: its picture; None: a conversation without one.
        given: the task that the profile gives the data set.

    Raises:
        RecordError: it has no answer, or no question that its task asks.
    """
    question = text_of(row.get(columns.question), columns.question)
    turn = _turn(question, row.get(columns.answer), columns.answer)
    usual: Task = "conversation" if image is None else "caption" if is_blank(question) else "vqa"
    task = given or usual
    if image is None and task != "conversation":
        raise RecordError(f"has no picture, and the task {task} asks about one", name)
    if not takes_question(task):
        turn = Turn("", turn.answer, turn.accepted)
    elif is_blank(question):
        lacks = f"`{columns.question}` is empty" if columns.question else "has no question"
        why = "no picture" if given is None and image is None else f"the task {task} asks one"
        raise RecordError(f"{lacks}, and {why}", name)
    said = (turn, *(Turn("", text) for text in turn.answers))
    return Found(Record(name, task, (turn,), boxes_in(said)), image)


def text_of(cell: Any, column: str) -> str:
    """The text of a cell; nothing where it is empty, and a number as it is written.

    Raises:
        RecordError: it is something else.
    """
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return ""
    if isinstance(cell, str):
        return cell
    if isinstance(cell, int | float) and not isinstance(cell, bool):
        return str(cell)
    raise RecordError(f"`{column}` must be text, not {'bytes' if isinstance(cell, bytes) else kind(cell)}", "")


def _turn(question: str, cell: Any, column: str) -> Turn:
    """A question with its answer; of a list each is right, and one that stands there twice weighs more."""
    if not isinstance(cell, list):
        answer = text_of(cell, column)
        if is_blank(answer):
            raise RecordError(f"`{column}` is empty: there is nothing to learn", "")
        return Turn(question, answer)
    texts = [text_of(item.get("answer") if isinstance(item, dict) else item, column) for item in cell]
    weights = Counter(text for text in texts if not is_blank(text))
    if not weights:
        raise RecordError(f"`{column}` has no text: there is nothing to learn", "")
    answer = max(weights, key=weights.__getitem__)
    accepted = tuple((text, float(weight)) for text, weight in weights.items())
    return Turn(question, answer, accepted if len(accepted) > 1 else ())


def _listed(names: Collection[str]) -> str:
    shown = ", ".join(repr(name[:50]) for name in list(names)[:SHOWN])
    return f"{shown} and {len(names) - SHOWN} more" if len(names) > SHOWN else shown or "none"

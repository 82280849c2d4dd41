"""Questions of one's own about pictures in a folder: a JSON list, or one on each line (docs/data.md)."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinygptv.data.annotations import Annotation, found, left_out
from tinygptv.data.entries import Ids, content_of, id_of, no_part, value_of
from tinygptv.data.json_items import JsonItem, read_items
from tinygptv.data.recognise import Recognised, folder_of_pictures, object_files
from tinygptv.data.source import Found, Rejection, Source
from tinygptv.data.tables import JSON_FILES
from tinygptv.data.tasks import is_blank
from tinygptv.ground.errors import DataError

if TYPE_CHECKING:
    from tinygptv.data.recognise import Look


def read(source: Source) -> Iterator[Found | Rejection]:
    """The questions with their pictures, as records of the data set's `task`, or of `vqa`."""
    task = source.settings.task or "vqa"
    items = annotations(source.files, source.settings.part or "")
    return found(source, (item if isinstance(item, dict) else replace(item, task=task) for item in items))


def recognise(look: "Look") -> Recognised | None:
    """JSON whose entries all have an id, a picture, a question and its answer or answers."""
    files = object_files(look, JSON_FILES, _fits)
    if not files:
        return None
    file, entries = next(iter(files.items()))
    return Recognised(
        why=f"the entries of {file.name} have `id`, `image`, `question` and `answer` or `answers`",
        files=tuple(files),
        images=folder_of_pictures(look, file, [entry["image"] for entry in entries]),
    )


def annotations(files: Sequence[Path], part: str) -> Iterator[Annotation | Rejection]:
    """The questions of all files; one that is not as it must be is left out.

    Raises:
        DataError: a file is no JSON, or a part is named.
    """
    no_part(part, "questions")
    ids = Ids()
    for path in files:
        for item in read_items(path):
            try:
                yield _annotation(item, ids)
            except DataError as error:
                yield left_out(item, error)


def _fits(entries: list[dict[str, Any]]) -> bool:
    return all(
        entry.keys() >= {"id", "image", "question"} and ("answer" in entry) != ("answers" in entry) for entry in entries
    )


def _annotation(item: JsonItem, ids: Ids) -> Annotation:
    content, place = content_of(item), item.place
    image, name = value_of(content, "image", str, place), id_of(content, "id", place)
    question = value_of({"question": "", **content}, "question", str, place)
    choices = _choices(content, place)
    accepted = _answers(content, choices, place)
    answer = max(accepted, key=accepted.__getitem__)
    truth: dict[str, Any] = {"answer": answer, "answers": accepted}
    if choices:
        truth |= {"choices": choices, "right": [choices.index(text) for text in accepted]}
    if "type" in content:
        truth["type"] = value_of(content, "type", str, place)
    return Annotation(
        id=ids.add(name, place),
        images=(image,),
        question=question,
        answer=answer,
        accepted=tuple(accepted.items()) if len(accepted) > 1 else (),
        truth=truth,
    )


def _answers(content: dict[str, Any], choices: Sequence[str], place: str) -> dict[str, float]:
    """Every answer that is right with its weight; those that are there several times weigh more."""
    if ("answer" in content) == ("answers" in content):
        raise DataError(f"{place} must have either `answer` or `answers`")
    listed = value_of(content, "answers", list, place) if "answers" in content else [content["answer"]]
    if not listed:
        raise DataError(f"{place}: `answers` is empty")
    accepted: dict[str, float] = {}
    for given in listed:
        text, weight = given if isinstance(given, list) and len(given) == 2 else (given, 1.0)
        if choices and type(text) is int and 0 <= text < len(choices):
            text = choices[text]
        if not isinstance(text, str) or is_blank(text):
            raise DataError(f"{place}: an answer must be text, not {str(text)[:50]!r}")
        if choices and text not in choices:
            raise DataError(f"{place}: the answer {text[:50]!r} is not among `choices`")
        if type(weight) not in (int, float) or not 0 < weight <= sys.float_info.max:  # no whole number is above inf
            raise DataError(f"{place}: the weight of an answer must be a number above 0, not {str(weight)[:50]!r}")
        accepted[text] = accepted.get(text, 0.0) + float(weight)
    return accepted


def _choices(content: dict[str, Any], place: str) -> list[str]:
    choices = value_of({"choices": [], **content}, "choices", list, place)
    if choices and (len(choices) < 2 or not all(isinstance(choice, str) and choice.strip() for choice in choices)):
        raise DataError(f"{place}: `choices` must be two texts or more")
    if len(set(choices)) < len(choices):
        raise DataError(f"{place}: `choices` has a text twice")
    return list(choices)

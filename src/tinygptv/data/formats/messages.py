"""Conversations in the variants of ShareGPT, OpenAI, LLaMA-Factory and ms-swift: JSON or JSON lines (docs/data.md)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinygptv.data.columns import text_of
from tinygptv.data.conversations import ANSWERS, kind, records_of, rejection, turns_of
from tinygptv.data.data_urls import from_data_url, is_data_url
from tinygptv.data.dataset_info import NAME, EntryNames, described
from tinygptv.data.formats import llava
from tinygptv.data.images import ImageError, size_as_seen
from tinygptv.data.json_items import JsonItem, read_items
from tinygptv.data.message_rows import LISTS, pictures_of, system_of, turns_said
from tinygptv.data.named_pictures import check_one, one_picture
from tinygptv.data.named_splits import NamedSplits, split_of_cell
from tinygptv.data.placed_objects import placed
from tinygptv.data.recognise import Recognised, folder_of_pictures, keys_of, object_files
from tinygptv.data.record_names import RecordNames, own_id
from tinygptv.data.record_rules import RecordError
from tinygptv.data.source import Found, Rejection, Source
from tinygptv.data.tables import JSON_FILES, record_files
from tinygptv.data.tasks import is_blank
from tinygptv.ground.errors import DataError

if TYPE_CHECKING:
    from tinygptv.data.recognise import Look
    from tinygptv.data.source import ImageFile

BESIDE = (NAME,)
"""Files beside those that `files` names which say how they are read."""
_OWN = {"image": "images", "question": "query", "answer": "response", "id": "id", "split": "split"}
"""What a profile's `columns` name → what it is called here."""


def read(source: Source) -> Iterator[Found | Rejection]:
    """The records of all files.

    Raises:
        DataError: a file is no JSON.
    """
    named = record_files(source, JSON_FILES)
    infos = {path.parent: path for path in named if path.name == NAME}
    files = [path for path in named if path.name != NAME]
    splits = NamedSplits(files)
    with closing(RecordNames()) as names:
        for path in files:
            of_file = described(path, next((infos[folder] for folder in path.parents if folder in infos), None))
            for item in read_items(path):
                yield from _records(item, of_file, source, names, splits.of(path))


def recognise(look: Look) -> Recognised | None:
    """JSON whose entries are conversations in one of the ways that `llava` does not read."""
    other = llava.recognise(look)
    taken = () if other is None else other.files
    fitting: dict[Path, list[dict[str, Any]]] = {}
    named: list[object] = []
    info = None
    for path, entries in object_files(look, JSON_FILES, bool).items():
        beside = next((place for place in (path.with_name(NAME), look.path / NAME) if place.is_file()), None)
        pictures = _pictures(path, entries, beside)
        if pictures is not None and path.name != NAME and path not in taken:
            fitting[path] = entries
            named += pictures
            info = info or beside
    if not fitting:
        return None
    file, entries = next(iter(fitting.items()))
    told = f"the entries of {file.name} have {keys_of(entries)}"
    return Recognised(
        why=told if info is None else f"{told}, which {info.name} describes",
        files=tuple(fitting),
        images=folder_of_pictures(look, file, named),
    )


def _records(
    item: JsonItem, of_file: EntryNames, source: Source, names: RecordNames, split: str
) -> Iterator[Found | Rejection]:
    """What becomes of an entry of a file of this split."""
    told = item.place
    try:
        content = _content(item, of_file, source)
        own = own_id(content)
        told = own or told
        name = names.of(own, item.content)
        said = turns_said(content, of_file.tags)
        image = _picture(pictures_of(content, said), source)
        texts = [(turn.role, turn.text) for turn in said]
        turns = turns_of(texts, has_picture=image is not None, system=system_of(content), where="images")
        turns = placed(turns, content.get("objects"), lambda: _size(image))
        if "split" in source.settings.columns:
            split = split_of_cell(text_of(content["split"], "split"), "split") or split
        yield from (replace(found, split=split) for found in records_of(name, turns, image, source))
    except RecordError as error:
        yield rejection(told, error.reason)
    except RecursionError:
        yield rejection(told, "is nested too deeply")


def _content(item: JsonItem, of_file: EntryNames, source: Source) -> dict[str, Any]:
    """An entry by the usual names."""
    if item.problem:
        raise RecordError(item.problem, item.place)
    if not isinstance(item.content, dict):
        raise RecordError(f"a record is an object with `messages`, not {kind(item.content)}", item.place)
    content = of_file.usual(item.content)
    for what, own in source.settings.columns.items():
        content[_OWN[what]] = content.pop(own, None)
    return content


def _picture(names: list[object], source: Source) -> ImageFile | bytes | None:
    """The picture of an entry: a file, or the content of a data URL."""
    if not names or not isinstance(names[0], str) or not is_data_url(names[0]):
        return one_picture(names, source)
    check_one(len(names), source)
    try:
        return from_data_url(names[0])
    except ValueError as error:
        raise RecordError(f"its picture is a data URL, and {error}", "") from None


def _size(image: ImageFile | bytes | None) -> tuple[int, int]:
    """Width and height of the picture that boxes in pixels are about."""
    if image is None:
        raise RecordError("has boxes, and no picture", "")
    try:
        return size_as_seen(image if isinstance(image, bytes) else image.read())
    except ImageError as error:
        raise RecordError(f"has boxes in pixels, and its picture cannot be read: {error.reason}", "") from None


def _pictures(path: Path, entries: list[dict[str, Any]], info: Path | None) -> list[object] | None:
    """The names of pictures that the first entries of a file have; None where most of them are of another form."""
    try:
        of_file = described(path, info)
    except DataError:
        of_file = EntryNames()  # `read` says what is wrong with it
    named: list[object] = []
    fitting = 0
    for content in map(of_file.usual, entries):
        if isinstance(content.get("image"), str) and not content.keys() & set(LISTS):
            continue  # a pair
        with suppress(RecordError):
            said = turns_said(content, of_file.tags)
            fitting += any(turn.role == ANSWERS and not is_blank(turn.text) for turn in said)
            named += pictures_of(content, said)
    return named if 2 * fitting > len(entries) else None

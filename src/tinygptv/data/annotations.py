"""What the files of a benchmark say: its questions in their official layout, for `tinygptv score` and for ``shards``.

A form of such files is a module of ``data/formats`` with two functions: ``annotations(files, part)``, which needs no
images, and ``read(source)``, which is ``found(source, annotations(source.files, source.settings.part or ""))``. With a
function of this name, a module cannot have the future import of the same name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from tinygptv.data.conversations import rejection
from tinygptv.data.entries import content_of
from tinygptv.data.record_names import RecordNames
from tinygptv.data.record_rules import MAX_NAME
from tinygptv.data.records import Record, Turn
from tinygptv.data.source import Found, Rejection
from tinygptv.ground.errors import DataError

if TYPE_CHECKING:
    from tinygptv.config import Task
    from tinygptv.data.boxes import Box
    from tinygptv.data.json_items import JsonItem
    from tinygptv.data.source import Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """A question as the files of its benchmark have it."""

    id: str
    """By which predictions name it."""
    images: tuple[str, ...]
    """Names that its image may have below the folder of images; the first that is there is taken. None: the files name
    no image, and it can be scored, but not asked."""
    question: str
    """What goes into an instruction: a question, a statement, an expression, or nothing."""
    answer: str
    """One that is right, to be shown, and trained on where the set is trained on."""
    accepted: tuple[tuple[str, float], ...] = ()
    """All that are right, with their weights, as in ``data/records.py``."""
    wordings: tuple[str, ...] = ()
    """All ways to put the question, as there."""
    task: Task = "vqa"
    boxes: tuple[Box, ...] = ()
    """In hundredths, of tasks that need them."""
    truth: Mapping[str, Any] = field(default_factory=dict)
    """What the benchmark's metric needs, as JSON."""


def found(source: Source, annotations: Iterable[Annotation | Rejection]) -> Iterator[Found | Rejection]:
    """Records of a benchmark's questions with their images."""
    names: tuple[str, ...] = ()
    image = None
    for item in annotations:
        if isinstance(item, dict):
            yield item
            continue
        if item.images != names:  # questions about one image follow one another
            names, image = item.images, next((file for name in item.images if (file := source.image(name))), None)
        if image is None:
            named = f"its image {item.images[0][:MAX_NAME]!r}" if item.images else ""
            yield rejection(item.id, f"{named} is missing below {source.images}" if named else "names no image")
            continue
        turn = Turn(item.question, item.answer, item.accepted, item.wordings)
        yield Found(Record(item.id, item.task, (turn,), item.boxes, "", item.truth), image)


def annotated(
    items: Iterable[JsonItem], make: Callable[[dict[str, Any], str], Annotation]
) -> Iterator[Annotation | Rejection]:
    """What entries of a set that is trained on become: it has millions, and one that is broken is left out and counted.

    Every other one counts: one that stands twice is trained on twice, as its publishers do.

    Args:
        items: the entries.
        make: from an entry and its place to what it says; a ``DataError`` leaves the entry out. Ids need not differ:
            the second of a name gets a number, as in ``cat-1#2``.
    """
    with closing(RecordNames()) as names:
        for item in items:
            try:
                made = make(content_of(item), item.place)
                yield replace(made, id=names.numbered(made.id))
            except DataError as error:
                yield left_out(item, error)


def left_out(item: JsonItem, error: DataError) -> Rejection:
    """The rejection of an entry that cannot be read, under the name of its place."""
    return rejection(item.place, str(error).removeprefix(item.place).lstrip(": "))

"""What the files of a benchmark say: its questions in their official layout, for `tinygptv score` and for ``shards``.

A form of such files is a module of ``data/formats`` with two functions: ``annotations(files, part)``, which needs no
images, and ``read(source)``, which is ``found(source, annotations(source.files, source.settings.part or ""))``. With a
function of this name, a module cannot have the future import of the same name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tinygptv.data.records import Record, Turn
from tinygptv.data.source import Found, Rejection

if TYPE_CHECKING:
    from tinygptv.config import Task
    from tinygptv.data.boxes import Box
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
    task: Task = "vqa"
    boxes: tuple[Box, ...] = ()
    """In hundredths, of tasks that need them."""
    truth: Mapping[str, Any] = field(default_factory=dict)
    """What the benchmark's metric needs, as JSON."""


def found(source: Source, annotations: Iterable[Annotation | Rejection]) -> Iterator[Found | Rejection]:
    """Records of a benchmark's questions with their images."""
    for item in annotations:
        if isinstance(item, dict):
            yield item
            continue
        image = next((file for name in item.images if (file := source.image(name)) is not None), None)
        if image is None:
            missing = (
                f"its image {item.images[0]} is missing below {source.images}" if item.images else "names no image"
            )
            yield {"id": item.id, "reason": missing}
            continue
        turn = Turn(item.question, item.answer, item.accepted)
        yield Found(Record(item.id, item.task, (turn,), item.boxes, "", item.truth), image)

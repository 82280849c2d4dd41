"""Answers that models gave, kept in blocks: after a kill, and in every later step, nobody is asked the same again.

Below ``.state/<profile>/answers`` lies a folder for each model, way of asking and list of questions, with a JSON file
for each block of questions. What decides an answer is in the folder's name or in the block: on another machine, with
other code or another version of a library, in other words of a benchmark a model is asked again, and so is one whose
block is damaged.

A step that ends well keeps what it used, and what the other steps used when they last ended well.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tinygptv.ground.errors import DataError
from tinygptv.ground.files import canonical, read_json, write_json, write_text

if TYPE_CHECKING:
    from tinygptv.model.answerer import Response

VERSION = 1
_ASKERS = "askers"
"""Folder with a file for each asker: which answers its last run used."""


class AnswerStore:
    """The kept answers of a profile."""

    def __init__(self, folder: Path, decides: Mapping[str, Any]) -> None:
        """The answers below a folder.

        Args:
            folder: such as ``.state/tiny/answers``.
            decides: what else decides an answer, as JSON: environment, section `runtime`, digests of code.
        """
        self.folder = folder
        self._decides = dict(decides)
        self.used: dict[str, None] = {}
        """Names of the folders that ``key`` has named."""

    @classmethod
    @contextmanager
    def opened(cls, folder: Path, asker: str, decides: Mapping[str, Any]) -> Iterator[Self]:
        """The kept answers for a block that asks; where it ends well, answers that no asker used last are removed.

        Args:
            folder: such as ``.state/tiny/answers``.
            asker: who asks, such as ``evaluate``: what its run before used and this one does not is not kept.
            decides: as above.
        """
        store = cls(folder, decides)
        note = folder / _ASKERS / f"{asker}.json"
        former = _read_note(note)
        store._note = note, former
        yield store
        write_json(note, sorted(store.used))
        store._prune()

    def key(self, model: str, questions: str, how: Mapping[str, Any]) -> str:
        """Name of a list of answers.

        Args:
            model: digest of all that makes the model.
            questions: ``Questions.digest``.
            how: how they are asked, as JSON.
        """
        told = {"version": VERSION, "model": model, "questions": questions, "how": how, "decides": self._decides}
        key = sha256(canonical(told).encode()).hexdigest()[:32]
        if key not in self.used:
            self.used[key] = None
            if self._note is not None:  # so that another one that ends meanwhile leaves them alone
                note, former = self._note
                write_json(note, sorted({*former, *self.used}))
        return key

    def read(self, key: str, block: int, asked: str) -> list[Response] | None:
        """The answers of a block; None where they are not there, damaged, or to other words.

        Args:
            key: of ``key``.
            block: its number.
            asked: digest of what its questions say.
        """
        try:
            content = read_json(self._path(key, block))
            if content["asked"] != asked or content["sha256"] != _digest(content["answers"]):
                return None
            return [_response(answer) for answer in content["answers"]]
        except (DataError, KeyError, TypeError, AttributeError):
            return None

    def write(self, key: str, block: int, asked: str, answers: Sequence[Response]) -> None:
        """Keep the answers of a block."""
        told = [asdict(answer) for answer in answers]
        write_text(self._path(key, block), canonical({"asked": asked, "answers": told, "sha256": _digest(told)}) + "\n")

    _note: tuple[Path, frozenset[str]] | None = None

    def _path(self, key: str, block: int) -> Path:
        return self.folder / key / f"{block:06d}.json"

    def _prune(self) -> None:
        kept = {_ASKERS}.union(*(_read_note(note) for note in (self.folder / _ASKERS).glob("*.json")))
        for path in self.folder.iterdir():
            if path.name not in kept:
                with suppress(FileNotFoundError):  # another one removes it, too
                    shutil.rmtree(path)


def _read_note(path: Path) -> frozenset[str]:
    """The keys that an asker used; nothing where the note is missing or damaged: its answers are asked again."""
    with suppress(DataError, TypeError):
        return frozenset(str(key) for key in read_json(path))
    return frozenset()


def _digest(answers: Any) -> str:
    return sha256(json.dumps(answers, sort_keys=True).encode()).hexdigest()


def _response(answer: Mapping[str, Any]) -> Response:
    from tinygptv.model.answerer import Likelihood, Response

    choices = tuple(Likelihood(**choice) for choice in answer["choices"])
    return Response(**{**answer, "choices": choices})

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
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tinygptv.ground.errors import DataError
from tinygptv.ground.files import canonical, read_json, sha256_file, write_json, write_text

if TYPE_CHECKING:
    from tinygptv.config import Runtime
    from tinygptv.model.answerer import Response

VERSION = 1
CODE = (
    "data/images.py",
    "data/marks.py",
    "data/prompts.py",
    "data/tasks.py",
    "evaluation/answering.py",
    "evaluation/asking.py",
    "evaluation/stages.py",
    "ground/runtime.py",
    "model/*.py",
    "model/decoding/*.py",
    "model/language/*.py",
)
"""The source files between the bytes of an image, the words of a question and an answer. Which words those are is
compared as such."""
_ASKERS = "askers"
"""Folder with a file for each asker: which answers its last run used."""


@dataclass(frozen=True, slots=True)
class AnswerList:
    """The kept answers of a model to a list of questions, in blocks; several processes may write to it."""

    folder: Path
    size: int
    """Questions of a block; the last one may have fewer."""

    def read(self, block: int, asked: str) -> list[Response] | None:
        """The answers of a block; None where they are not there, damaged, or to other words.

        Args:
            block: its number.
            asked: digest of what its questions say.
        """
        try:
            content = read_json(self._path(block))
            if content["asked"] != asked or content["sha256"] != _digest(content["answers"]):
                return None
            return [_response(answer) for answer in content["answers"]]
        except (DataError, KeyError, TypeError, AttributeError):
            return None

    def write(self, block: int, asked: str, answers: Sequence[Response]) -> None:
        """Keep the answers of a block."""
        told = [asdict(answer) for answer in answers]
        write_text(self._path(block), canonical({"asked": asked, "answers": told, "sha256": _digest(told)}) + "\n")

    def _path(self, block: int) -> Path:
        return self.folder / f"{block:06d}.json"


class AnswerStore:
    """The kept answers of a profile, in the hands of one asker; made by ``opened``."""

    def __init__(self, folder: Path, asker: str, decides: Mapping[str, Any]) -> None:
        """The answers below a folder.

        Args:
            folder: such as ``.state/tiny/answers``.
            asker: who asks, such as ``evaluate``.
            decides: what decides an answer beside model, questions and how they are asked, as JSON.
        """
        self._folder, self._decides = folder, dict(decides)
        self._note = folder / _ASKERS / f"{asker}.json"
        self._former = _read_note(self._note)
        self._used: set[str] = set()

    @classmethod
    @contextmanager
    def opened(cls, folder: Path, asker: str, settings: Runtime) -> Iterator[Self]:
        """The kept answers for a block that asks.

        Where the block ends well, what the asker used before and not now is removed, if no other asker uses it.

        Args:
            folder: as of ``ground.folders.answers_folder``.
            asker: who asks, such as ``evaluate``.
            settings: the section `runtime` of the profile.
        """
        store = cls(folder, asker, _decides(settings))
        yield store
        write_json(store._note, sorted(store._used))
        store._prune()

    def answers(self, model: str, questions: str, how: Mapping[str, Any], size: int) -> AnswerList:
        """A list of answers, which counts as used from now on.

        Args:
            model: digest of all that makes the model.
            questions: ``Questions.digest``.
            how: how they are asked, as JSON.
            size: questions of a block.
        """
        told = {"version": VERSION, "model": model, "questions": questions, "decides": self._decides}
        told["how"] = {**how, "block": size}
        key = sha256(canonical(told).encode()).hexdigest()[:32]
        if key not in self._used:
            self._used.add(key)
            write_json(self._note, sorted(self._former | self._used))  # another one that ends now must leave them
        return AnswerList(self._folder / key, size)

    def _prune(self) -> None:
        kept = {_ASKERS}.union(*(_read_note(note) for note in (self._folder / _ASKERS).glob("*.json")))
        for path in self._folder.iterdir():
            if path.name not in kept:
                with suppress(FileNotFoundError):  # another one removes it, too
                    shutil.rmtree(path)


def _decides(settings: Runtime) -> dict[str, Any]:
    """What decides an answer beside what is asked of whom: machine, libraries, section `runtime`, code."""
    from tinygptv.ground import runtime

    source = Path(__file__).resolve().parents[1]
    files = sorted(path for pattern in CODE for path in source.glob(pattern))
    return {
        "environment": runtime.environment(),
        "runtime": settings.model_dump(),
        "code": {path.relative_to(source).as_posix(): sha256_file(path) for path in files},
    }


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

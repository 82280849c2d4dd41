"""The two files of VQA v2, OK-VQA and their kin: questions, and annotations with the answers of ten people each.

Source: https://visualqa.org/download.html and https://okvqa.allenai.org/download.html. Which file is which says what
it holds, not its name. Predictions are scored with the annotations alone; to be asked, the questions are needed too.
"""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from tinygptv.data.annotations import Annotation, found
from tinygptv.data.entries import Ids, checked_split, content_of, id_of, value_of
from tinygptv.data.json_items import read_members
from tinygptv.data.people import answers_of, asked, image_of
from tinygptv.data.source import Found, Rejection, Source
from tinygptv.ground.errors import DataError

QUESTIONS, ANNOTATIONS = "questions", "annotations"
YEAR = "2014"
"""Of COCO's images that people gave answers about."""


def annotations(files: Sequence[Path], part: str) -> Iterator[Annotation | Rejection]:
    """The questions in the order of the annotations; their text is empty where no file has the questions.

    Args:
        files: the annotations, and the questions where they are there.
        part: the split that the files must be of, such as ``val``; empty: any.

    Raises:
        DataError: a file is neither, is of another split, or an entry is broken; or the two are not about the same
            questions.
    """
    at = _told_apart(files)
    if ANNOTATIONS not in at:
        raise DataError(f"{at[QUESTIONS]} has questions without answers; name the file of their annotations too")
    texts = _Texts(at[QUESTIONS], part) if QUESTIONS in at else None
    ids, split = Ids(), ""
    for name, item in read_members(at[ANNOTATIONS]):
        if name == "data_subtype":
            split = _checked(item.content, part, at[ANNOTATIONS])
        elif name == ANNOTATIONS:
            content = content_of(item)
            question = ids.add(id_of(content, "question_id", item.place), item.place)
            kinds = {key: str(content[key]) for key in ("answer_type", "question_type") if key in content}
            yield asked(
                "" if texts is None else texts.of(question, item.place),
                name=question,
                images=image_of(content, split),
                said=answers_of(content, "answers", item.place),
                **kinds,
            )
    if texts is not None:
        texts.finish(at[ANNOTATIONS])
        if split and texts.split and split != texts.split:
            raise DataError(f"{at[ANNOTATIONS]} is of {split} and {at[QUESTIONS]} of {texts.split}; name two of a kind")


def read(source: Source) -> Iterator[Found | Rejection]:
    """The questions with their images.

    Raises:
        DataError: as ``annotations``, or no file has the questions.
    """
    if QUESTIONS not in (at := _told_apart(source.files)):
        raise DataError(f"data set {source.name}: name the file with the questions beside {at[ANNOTATIONS]} in `files`")
    yield from found(source, annotations(source.files, source.settings.part or ""))


def first_of(path: Path, names: Collection[str]) -> str:
    """The member of these names that a file has first; empty: it has none, or nothing in it."""
    return next((name for name, _ in read_members(path) if name in names), "")


def _told_apart(files: Sequence[Path]) -> dict[str, Path]:
    """What it holds → file.

    Raises:
        DataError: a file holds neither, or two hold the same.
    """
    at: dict[str, Path] = {}
    for path in files:
        kind = first_of(path, (QUESTIONS, ANNOTATIONS))
        if not kind:
            raise DataError(
                f"{path} has neither `{QUESTIONS}` nor `{ANNOTATIONS}`: it is none of VQA's files, or empty"
            )
        if kind in at:
            raise DataError(f"{at[kind]} and {path} both have {kind}; name the files of one split")
        at[kind] = path
    if not at:
        raise DataError(f"no file has `{ANNOTATIONS}`")
    return at


def _checked(told: Any, part: str, path: Path) -> str:
    """The split that a file says it is of, such as ``val2014``.

    Raises:
        DataError: it is another one than is asked for, or of another year, as the abstract scenes of 2015.
    """
    split = checked_split(told, part, path)
    if part and split not in ("", part, f"{part}{YEAR}"):
        raise DataError(f"{path} is of {split}, not of {part}{YEAR}; name the file of that year")
    return split


class _Texts:
    """The texts of a file's questions, read as the annotations ask for them; those that are passed over wait.

    The official files have one order, so that none waits; in another order they are all in memory in the end.
    """

    def __init__(self, path: Path, part: str) -> None:
        self._path, self._part = path, part
        self.split = ""
        self._left = self._entries()
        self._waiting: dict[str, str] = {}

    def of(self, question: str, place: str) -> str:
        """The text of a question, which is asked for once."""
        while question not in self._waiting:
            entry = next(self._left, None)
            if entry is None:
                raise DataError(
                    f"{place}: the question {question} is not in {self._path}; take both files of one split and year"
                )
            self._waiting[entry[0]] = entry[1]
        return self._waiting.pop(question)

    def finish(self, annotations: Path) -> None:
        """Check that every question was asked for."""
        for question, text in self._left:
            self._waiting[question] = text
            break
        if self._waiting:
            question = next(iter(self._waiting))
            raise DataError(
                f"{self._path}: the question {question} has no annotation in {annotations}; take both files of one "
                "split and year"
            )

    def _entries(self) -> Iterator[tuple[str, str]]:
        ids = Ids()
        for name, item in read_members(self._path):
            if name == "data_subtype":
                self.split = _checked(item.content, self._part, self._path)
            elif name == QUESTIONS:
                content = content_of(item)
                question = ids.add(id_of(content, "question_id", item.place), item.place)
                yield question, value_of(content, "question", str, item.place)

"""IconQA: questions about drawings, in three sub-tasks (Lu et al. 2021; iconqa_data.zip of iconqa.github.io).

``problems.json`` has all of them, ``pid_splits.json`` says which are of a part, such as ``choose_txt_test``.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tinygptv.data.annotations import Annotation, found
from tinygptv.data.entries import Ids, content_of, id_of, part_of, value_of
from tinygptv.data.json_items import read_members
from tinygptv.data.source import Found, Rejection, Source
from tinygptv.ground.errors import DataError

TEXTS, BLANK, IMAGES = "choose_txt", "fill_in_blank", "choose_img"
PARTS = tuple(f"{kind}_{split}" for kind in (TEXTS, BLANK, IMAGES) for split in ("test", "val", "train"))


def read(source: Source) -> Iterator[Found | Rejection]:
    """The problems with their images, ``iconqa/<split>/<sub-task>/<pid>/image.png``.

    Raises:
        DataError: the files are not what ``annotations`` reads, or a problem has several images.
    """
    part = part_of(source.settings.part or "", PARTS)
    if part.startswith(IMAGES):
        raise DataError(
            f"data set {source.name}: a question of {IMAGES} has several images, and one can be asked about; "
            "`tinygptv score` counts predictions of it"
        )
    return found(source, annotations(source.files, part))


def annotations(files: Sequence[Path], part: str) -> Iterator[Annotation]:
    """The problems of a part, in the order of ``problems.json``.

    Raises:
        DataError: a file or a problem is missing, or one is damaged.
    """
    part = part_of(part, PARTS)
    kind, _, split = part.rpartition("_")
    splits, problems = (_file(files, name) for name in ("pid_splits", "problems"))
    wanted = _pids(splits, part)
    ids, count = Ids(), len(wanted)
    for name, item in read_members(problems):
        if name in wanted:
            yield _problem(ids.add(name, item.place), content_of(item), item.place, kind, split)
            count -= 1
    if count:
        raise DataError(f"{problems} lacks {count} of the {len(wanted)} problems that {splits.name} has in {part}")


def _problem(name: str, content: dict[str, Any], place: str, kind: str, split: str) -> Annotation:
    if (told := value_of(content, "ques_type", str, place)) != kind:
        raise DataError(f"{place} is of the sub-task {told}, not {kind}")
    folder = f"{kind}/{name}/image.png"
    question = value_of(content, "question", str, place)
    images = (f"iconqa/{split}/{folder}", f"{split}/{folder}", folder, f"{name}/image.png")
    if kind == BLANK:
        answer = id_of(content, "answer", place)
        return Annotation(id=name, images=images, question=question, answer=answer, truth={"answer": answer})
    choices, right = value_of(content, "choices", list, place), id_of(content, "answer", place)
    if not choices or not all(isinstance(choice, str) for choice in choices):
        raise DataError(f"{place}: `choices` must be a list of texts")
    if not right.isdecimal() or int(right) >= len(choices):
        raise DataError(f"{place}: `answer` must be the number of a choice, 0 to {len(choices) - 1}, not {right!r}")
    answer = choices[int(right)]
    truth = {"answer": answer, "choices": choices, "right": [int(right)]}
    return Annotation(id=name, images=images, question=question, answer=answer, truth=truth)


def _pids(path: Path, part: str) -> set[str]:
    """The problems of a part."""
    pids = [str(item.content) for name, item in read_members(path) if name == part]
    if not pids:
        raise DataError(f"{path} has no {part}")
    if len(found := set(pids)) < len(pids):
        raise DataError(f"{path}: {part} names a problem twice")
    return found


def _file(files: Sequence[Path], stem: str) -> Path:
    found = [path for path in files if path.stem == stem and path.suffix == ".json"]
    if len(found) != 1:
        raise DataError(f"IconQA has one file {stem}.json, and here are {len(found)}; name the folder it lies in")
    return found[0]

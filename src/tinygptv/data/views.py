"""What each step after ``shards`` uses of the data sets. It depends on its view alone, and DVC compares nothing else.

A view is JSON: data set → split → ``index``, SHA-256 of the split's index, and ``blocks``, those of its tars by name;
for a stage also ``templates``, the instructions that the profile gives the set, and, where its looks ask questions,
``scored``: what decides what the answers count.
A change in a set that a step does not use leaves its view, and so the step, as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinygptv.data.index import RecordIndex
from tinygptv.data.summary import DIGESTS, INDEXES, SPLITS, mend, read_summary, sets, tars
from tinygptv.ground import digests
from tinygptv.ground.errors import DataError
from tinygptv.ground.file_names import view_of
from tinygptv.ground.files import read_json, write_json
from tinygptv.ground.names import STAGES

if TYPE_CHECKING:
    from tinygptv.config import Config


def write_views(shards: Path, config: Config) -> None:
    """Write what each step uses of a folder of shards.

    Args:
        shards: such as ``data/tiny/shards``, with a folder for each set.
        config: the profile.
    """
    folders, held_out, scored = sets(shards), config.uses.get("held_out", {}), config.scored
    (shards / "views").mkdir(exist_ok=True)
    for step, names in config.uses["sets"].items():
        looked_at = held_out.get(step, ())
        view = {
            name: _parts(folders[name], ("train", "val") if name in looked_at else ("train",))
            for name in names
            if name in folders
        }
        if step in STAGES:  # how records are asked is a part of what is trained on
            for name in view:
                settings = config.data[name]
                view[name] |= {"templates": settings.templates} if settings.templates else {}
                if step in scored:
                    asked = {"format": settings.format, "benchmark": settings.benchmark, "part": settings.part}
                    view[name] |= {"scored": {**asked, "code": scored[step]}}
        write_json(shards / view_of(step), view)
    write_json(shards / view_of("evaluate"), {name: _parts(folder, SPLITS) for name, folder in folders.items()})


def open_view(shards: Path, step: str) -> dict[str, dict[str, RecordIndex]]:
    """The indexes that a step uses, compared with its view: data set → split → index.

    What the tars hold is compared when a record is read.

    Raises:
        DataError: the view or an index is missing, or is not the one of the view.
    """
    path = shards / view_of(step)
    view = read_json(path)
    try:
        return {
            name: {split: _open(shards / name / f"{split}.arrow", parts[split]) for split in SPLITS if split in parts}
            for name, parts in view.items()
        }
    except (AttributeError, KeyError, TypeError):
        raise DataError(f"{path} is no view of shards; {mend(shards)}") from None


def open_split(shards: Path, step: str, split: str, names: Iterable[str]) -> dict[str, RecordIndex]:
    """The indexes of a split of those data sets that have one, compared with the view of a step.

    Args:
        shards: such as ``data/tiny/shards``.
        step: the step whose view it is.
        split: one of ``SPLITS``.
        names: the data sets.

    Raises:
        DataError: the view or an index is missing, or is not the one of the view.
    """
    path, asked = shards / view_of(step), frozenset(names)
    view = read_json(path)
    try:
        parts = {name: of_set[split] for name, of_set in view.items() if name in asked and split in of_set}
        return {name: _open(shards / name / f"{split}.arrow", part) for name, part in parts.items()}
    except (AttributeError, KeyError, TypeError):
        raise DataError(f"{path} is no view of shards; {mend(shards)}") from None


def viewed_tars(shards: Path, step: str, pattern: str, names: Iterable[str]) -> dict[str, list[Path]]:
    """The tars of a split of those data sets that a folder of shards has, compared with the view of a step.

    The view is compared with the sets' summaries, and a tar with its summary when it is read. A folder without the
    view, made by hand or by an earlier version, is taken as its summaries say.

    Args:
        shards: such as ``data/tiny/shards``.
        step: the step whose view it is.
        pattern: of the tars' names, such as ``TRAINING``.
        names: the data sets.

    Raises:
        DataError: a set's summary is not what the view says, or a tar is missing.
    """
    path, split, asked = shards / view_of(step), pattern.partition("-")[0], frozenset(names)
    folders = {name: folder for name, folder in sets(shards).items() if name in asked}
    if path.is_file():
        view = read_json(path)
        for name, folder in folders.items():
            try:
                part = view.get(name, {}).get(split)
            except AttributeError:
                raise DataError(f"{path} is no view of shards; {mend(shards)}") from None
            if _parts(folder, (split,)).get(split) != part:
                raise DataError(f"{folder}: its {split} is not the one of {path}: it was made again; {mend(folder)}")
    return {name: tars(folder, pattern) for name, folder in folders.items()}


def _parts(folder: Path, splits: Iterable[str]) -> dict[str, Any]:
    """What a view says of a data set; nothing of a split that it has not."""
    summary = read_summary(folder)
    indexes, blocks = summary.get(INDEXES, {}), summary.get(DIGESTS, {})
    return {
        split: {
            "index": indexes[split],
            "blocks": {tar: digest for tar, digest in blocks.items() if tar.startswith(f"{split}-")},
        }
        for split in splits
        if split in indexes
    }


def _open(path: Path, part: Mapping[str, Any]) -> RecordIndex:
    if not path.is_file():
        raise DataError(f"{path} is missing; {mend(path.parent)}")
    if digests.sha256(path) != part["index"]:
        raise DataError(f"{path} is not the one of the view: it is damaged, or was made again; {mend(path.parent)}")
    return RecordIndex(path)

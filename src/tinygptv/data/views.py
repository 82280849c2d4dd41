"""What each step after ``shards`` uses of the data sets. It depends on its view alone, and DVC compares nothing else.

A view is JSON: data set → split → ``index``, SHA-256 of the split's index, and ``blocks``, those of its tars by name.
A change in a set that a step does not use leaves its view, and so the step, as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinygptv.config.data import parse_entry
from tinygptv.data.index import RecordIndex
from tinygptv.data.summary import DIGESTS, INDEXES, SPLITS, mend, read_summary, sets
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
    folders = sets(shards)
    (shards / "views").mkdir(exist_ok=True)
    for step, (names, splits) in _uses(config, folders).items():
        view = {name: _parts(folders[name], splits) for name in names if name in folders}
        write_json(shards / view_of(step), view)


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
            name: {split: _open(shards / name / f"{split}.arrow", part) for split, part in parts.items()}
            for name, parts in view.items()
        }
    except (AttributeError, KeyError, TypeError):
        raise DataError(f"{path} is no view of shards; {mend(shards)}") from None


def _uses(config: Config, known: Iterable[str]) -> Mapping[str, tuple[Iterable[str], Iterable[str]]]:
    """Step → the data sets that it uses, and of each the splits."""
    stages = {  # without epochs a stage uses none
        stage: {parse_entry(entry).dataset for entry in config.stage(stage).mixture if config.stage(stage).steps}
        for stage in STAGES
    }
    standins = config.backbones.data if config.backbones.source == "pretrain" else ()
    return {
        **{stage: (sorted(names), ("train",)) for stage, names in stages.items()},
        "backbones": (sorted(standins), ("train",)),
        "features": (sorted(set().union(*stages.values())), ("train",)),
        "evaluate": (sorted(known), SPLITS),
    }


def _parts(folder: Path, splits: Iterable[str]) -> dict[str, Any]:
    """What a view says of a data set; nothing of a split that it has not."""
    summary = read_summary(folder)
    indexes, tars = summary.get(INDEXES, {}), summary.get(DIGESTS, {})
    return {
        split: {
            "index": indexes[split],
            "blocks": {tar: digest for tar, digest in tars.items() if tar.startswith(f"{split}-")},
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

"""The entries of a stage's mixture: which rows of which index each one draws from, and how their records are asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tinygptv.config import parse_entry
from tinygptv.data.records import TASKS
from tinygptv.data.tasks import record_task
from tinygptv.ground.errors import DataError

if TYPE_CHECKING:
    from tinygptv.config import DataSet, Family, Stage
    from tinygptv.data.index import RecordIndex


@dataclass(frozen=True, slots=True)
class MixtureEntry:
    """A data set, or its records of one task."""

    index: RecordIndex
    rows: range
    family: Family | None
    """Instructions to ask with; None: those of each record's own task."""

    def __len__(self) -> int:
        return len(self.rows)

    def families(self) -> Iterator[tuple[Family, range]]:
        """The rows that one family of instructions is about, for each family."""
        if self.family is not None:
            yield self.family, self.rows
            return
        for task in TASKS:
            if rows := self.index.rows(task):
                yield task, rows


def entries_of(
    name: str, stage: Stage, sets: Mapping[str, DataSet], indexes: Mapping[str, Mapping[str, RecordIndex]]
) -> dict[str, MixtureEntry]:
    """Entry of a stage's mixture → what it draws from to train.

    Args:
        name: the stage.
        stage: its section of the configuration.
        sets: the section ``data``.
        indexes: name of a data set → split → index.

    Raises:
        DataError: nothing of a data set is trained on.
    """
    found = entries_in("train", stage, sets, indexes)
    for text in stage.mixture:
        if text not in found:
            raise DataError(f"{name}.mixture names {text}, but the shards have no such training record")
    return found


def entries_in(
    split: str, stage: Stage, sets: Mapping[str, DataSet], indexes: Mapping[str, Mapping[str, RecordIndex]]
) -> dict[str, MixtureEntry]:
    """Entry of a stage's mixture → its records in a split; without the entries of data sets that have no such split."""
    found = {}
    for text in stage.mixture:
        dataset, family = parse_entry(text)
        index = indexes.get(dataset, {}).get(split)
        if index is None:
            continue
        if family is None:
            found[text] = MixtureEntry(index, range(len(index)), sets[dataset].templates)
        else:
            found[text] = MixtureEntry(index, index.rows(record_task(family)), family)
    return found

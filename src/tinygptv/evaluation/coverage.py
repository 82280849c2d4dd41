"""Whether a split has the questions that a profile expects, and what is told of those that nobody asks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tinygptv.data.summary import read_summary, sets, tars
from tinygptv.ground.errors import DataError

if TYPE_CHECKING:
    from tinygptv.evaluation.baselines import Baselines
    from tinygptv.evaluation.benchmarks.table import Ask


def check_counts(shards: Path, asks: Iterable[Ask], asked: Mapping[str, int]) -> None:
    """A data set must have as many test questions as it should: a file that is cut would give a number all the same.

    Args:
        shards: the folder of shards.
        asks: what is asked.
        asked: name of a benchmark → its questions in the test split; without those that have none.

    Raises:
        DataError: names the data set, both numbers, and how many records were rejected.
    """
    asks, found = tuple(asks), Counter[str]()
    expected = {ask.dataset: ask.expected for ask in asks}
    for ask in asks:
        found[ask.dataset] += asked.get(ask.name, 0)
    folders = sets(shards)
    for name, wanted in expected.items():
        if wanted is not None and found[name] != wanted:
            rejected = read_summary(folders[name]).get("rejected", 0) if name in folders else 0
            raise DataError(
                f"data.{name}: {found[name]} questions in the test set, but {wanted} are expected, and `shards` "
                f"rejected {rejected} records (rejected.json); get its files whole, or say in data.{name}.questions "
                "how many there are"
            )


def left_out(
    where: str, asks: Iterable[Ask], asked: Mapping[str, int], baselines: Mapping[str, Baselines], others: Iterable[str]
) -> list[str]:
    """A line for what is not in the report, or stands there with baselines that were chosen on what is asked.

    Args:
        where: what is asked.
        asks: what would be asked.
        asked: name of a benchmark → its questions there; without those that have none.
        baselines: benchmark → answers that need no image.
        others: data sets with samples there that `evaluate.benchmarks` does not name.
    """
    asks = tuple(asks)
    lines = [f"{where}: no benchmark asks the records of {name}; they are left out" for name in others]
    for ask in asks:
        if ask.name not in asked:
            if ask.task:
                lines.append(f"{where}: no record of the task {ask.task}; {ask.name} is left out")
        elif ask.task and baselines[ask.name].chosen_on == "split":
            lines.append(
                f"{where}: no training record of the task {ask.task}; the baselines of {ask.name} are chosen on what "
                "is asked"
            )
    return lines or ([] if asks else [f"{where}: no data set of the profile has a benchmark; nothing is asked"])


def not_named(shards: Path, asks: Iterable[Ask], split: str) -> list[str]:
    """The data sets that have tars of a split, such as ``test``, which nothing asks.

    Raises:
        DataError: a tar is missing.
    """
    named = {ask.dataset for ask in asks}
    return [name for name, folder in sets(shards).items() if name not in named and tars(folder, f"{split}-*.tar")]

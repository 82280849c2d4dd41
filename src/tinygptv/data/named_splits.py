"""Splits that files name: `train-00000.parquet`, `val/00000.tar`, a column `split`."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from tinygptv.data.record_rules import MAX_NAME, RecordError
from tinygptv.data.tasks import is_blank

WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "eval"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_WORD = re.compile(rf"(?<![a-z])({'|'.join(sorted(WORDS, key=len, reverse=True))})(?![a-z])")


class NamedSplits:
    """The splits of a data set's files by their names, and by those of the folders below the one that holds them all.

    Where none is of a held-out split, or all are of one, as a single ``test.csv``, names say nothing: the shares of the
    profile decide.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        above = os.path.commonpath([path.parent for path in files]) if files else ""
        named = {path: split_in(path.relative_to(above).as_posix()) for path in files}
        said = set(named.values())
        self._named = named if len(said) > 1 and said & {"val", "test"} else {}

    def of(self, path: Path) -> str:
        """The split of a file; empty where its name says none."""
        return self._named.get(path, "")


def split_in(name: str) -> str:
    """The split that a name has as a word, the last of several; empty where it has none."""
    found = _WORD.findall(name.lower())
    return WORDS[found[-1]] if found else ""


def split_of_cell(text: str, column: str) -> str:
    """The split that a row says it is of; empty where it says none.

    Raises:
        RecordError: there is no such split.
    """
    if is_blank(text):
        return ""
    if (word := text.strip().lower()) not in WORDS:
        raise RecordError(f"its `{column}` is {text[:MAX_NAME]!r}; splits are train, val and test", "")
    return WORDS[word]

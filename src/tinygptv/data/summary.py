"""``summary.json`` beside tars: which tars belong to the folder, their digests, and how much is in them.

What a folder holds is what its summary lists: a tar that an earlier write left is not read, one that is gone is missed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from itertools import pairwise
from pathlib import Path
from typing import Any

from tinygptv.data.records import FIRST_SET
from tinygptv.ground.errors import DataError
from tinygptv.ground.file_names import SUMMARY
from tinygptv.ground.files import read_json, write_json
from tinygptv.ground.folders import STATE
from tinygptv.ground.names import STEPS

TRAINING, HELD_OUT, TEST = "train-*.tar", "val-*.tar", "test-*.tar"
"""Patterns of the tars of a split."""
SPLITS = ("train", "val", "test")
DIGESTS = "digests"
"""Key of ``summary.json``: tar → SHA-256. Where the file is there, the tars beside it must have these digests."""
INDEXES = "indexes"
"""Key of ``summary.json``: split → SHA-256 of its index (``data/index.py``)."""

_NUMBERED = r"-\d{6}\.tar"


def sets(shards: Path) -> dict[str, Path]:
    """The data sets of a folder of shards, by name: each in a folder of its own.

    A folder of an earlier version has its tars in itself: it is the one set that those were written of.
    """
    return {path.parent.name: path.parent for path in sorted(shards.glob(f"*/{SUMMARY}"))} or {FIRST_SET: shards}


def tars(folder: Path, pattern: str = "*.tar") -> list[Path]:
    """The tars of a folder in the order in which they are read; all that are there where it has no summary.

    Args:
        folder: such as ``data/tiny/shards``.
        pattern: of their names, such as ``TRAINING``.

    Raises:
        DataError: a tar is there that the summary does not list, or one that it lists is missing.
    """
    there = {path.name for path in folder.glob(pattern)}
    digests = read_digests(folder)
    listed = there if digests is None else {name for name in digests if fnmatchcase(name, pattern)}
    for name in sorted(there - listed):
        raise DataError(f"{folder / name}: {SUMMARY} does not list it; remove it, or {mend(folder)}")
    for name in sorted(listed - there):
        raise DataError(f"{folder / name} is missing; {mend(folder)}")
    return [folder / name for name in sorted(listed)]


def read_digests(folder: Path) -> dict[str, str] | None:
    """Tar → SHA-256 of a folder's summary; None where none is recorded.

    Raises:
        DataError: the summary is not of the documented form.
    """
    return read_summary(folder).get(DIGESTS)


def read_summary(folder: Path) -> dict[str, Any]:
    """A folder's summary; empty where it has none.

    Raises:
        DataError: it is not of the documented form.
    """
    path = folder / SUMMARY
    content = read_json(path) if path.is_file() else {}
    digests = content.get(DIGESTS, {}) if isinstance(content, dict) else None
    if not isinstance(digests, dict) or not all(isinstance(digest, str) for digest in digests.values()):
        raise DataError(f"{path} is no summary of tars; {mend(folder)}")
    return dict(content)


def count_images(folder: Path, split: str) -> int | None:
    """How many images the tars of a split have; None where the folder's summary does not say it.

    Raises:
        DataError: the summary is not of the documented form.
    """
    counted = read_summary(folder).get("splits", {}).get(split, {}).get("images")
    return counted if type(counted) is int else None


def replace_split(
    folder: Path, split: str, staged: Path, digests: Mapping[str, str], index: str, counts: Mapping[str, Any]
) -> None:
    """Put finished tars and their index in the place of those that the folder held of a split, and list them.

    The summary comes last: until then it has the former digests, which the new tars do not have.

    Args:
        folder: the folder; what else is in it stays.
        split: first part of the tars' names.
        staged: where the new files lie, on the same disk.
        digests: the tars' names and SHA-256.
        index: SHA-256 of the index.
        counts: what the split holds: ``images``, ``records``, ``tasks``.

    Raises:
        DataError: the folder has a summary of another form.
    """
    former, name = read_summary(folder), re.compile(re.escape(split) + _NUMBERED)
    for path in folder.glob(f"{split}-*.tar"):
        if name.fullmatch(path.name) and path.name not in digests:
            path.unlink()
    for new in (*digests, f"{split}.arrow"):
        (staged / new).replace(folder / new)
    others = {tar: digest for tar, digest in former.get(DIGESTS, {}).items() if not name.fullmatch(tar)}
    splits = former.get("splits", {}) | {split: dict(counts)}
    records = sum(part["records"] for part in splits.values())
    indexes = former.get(INDEXES, {}) | {split: index}
    now = {"splits": splits, "records": records, DIGESTS: {**others, **digests}, INDEXES: indexes}
    write_json(folder / SUMMARY, {"rejected": 0} | former | now)


def mend(folder: Path) -> str:
    """How to get a tar back: profile and step are in its path; other folders are a user's own."""
    steps = [(profile, step) for profile, step in pairwise(folder.parts) if step in STEPS]
    if not steps:
        return "write the folder again with `write_shards`"
    profile, step = steps[-1]
    return (
        f"restore it with `dvc checkout`, or make it again with `dvc repro -f -s {step}`, without "
        f"{STATE}/{profile}/blocks/{step} if that is damaged, too"
    )

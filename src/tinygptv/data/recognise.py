"""Which form files have: what lies at a path is looked at, and each form says whether it would read it and why.

Nothing is read whole: of a folder some thousand names, of a file its first entries.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

from tinygptv.config.formats import FORMATS
from tinygptv.data.first_entries import first_entries
from tinygptv.ground.errors import DataError

MOST_NAMES = 5000
"""Names of files below a folder that are looked at."""


@dataclass(frozen=True)
class Look:
    """What lies at a path."""

    path: Path
    """A file or a folder."""
    images: Path | None
    """The folder of images, where it was named."""

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the files below a folder, from there on, sorted; of a file: its own."""
        if self.path.is_file():
            return (self.path.name,)
        found: list[str] = []
        for base, folders, files in os.walk(self.path):
            folder = Path(base)
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            found += [(folder / name).relative_to(self.path).as_posix() for name in files if not name.startswith(".")]
            if len(found) >= MOST_NAMES:
                break
        return tuple(sorted(found[:MOST_NAMES]))

    def named(self, *suffixes: str) -> tuple[str, ...]:
        """Those of the names that end so, whatever their case."""
        return tuple(name for name in self.names if name.lower().endswith(suffixes))

    def entries(self, name: str) -> list[Any]:
        """The first entries of a file of ``names``: objects of JSON or JSON lines, rows of CSV, TSV or parquet.

        Nothing where it is none of these, or cannot be read: the form that reads it says why.
        """
        return first_entries(self.path if self.path.is_file() else self.path / name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recognised:
    """A form that would read what lies there."""

    why: str
    """What it was recognised by, in words that a data owner knows."""
    files: tuple[Path, ...] = ()
    """``files`` of the data set."""
    images: Path | None = None
    """``images`` of the data set; None where its records need none, or hold them."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Other keys of the data set, such as ``columns`` or ``task``."""


def recognise(path: Path, images: Path | None = None) -> dict[str, Recognised]:
    """The forms that would read a file or a folder, in the order of their table.

    A form's module says so by a function ``recognise(look: Look) -> Recognised | None``.

    Args:
        path: the file or folder.
        images: the folder that names of images are relative to, where it was named.

    Raises:
        DataError: there is nothing.
    """
    if not path.exists():
        raise DataError(f"{path} does not exist; name the file or folder with the records")
    look = Look(path, images)
    found = {}
    for form, module in FORMATS.items():
        ask = getattr(import_module(module), "recognise", None)
        if ask is not None and (recognised := ask(look)) is not None:
            found[form] = recognised
    return found

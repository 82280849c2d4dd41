"""Which form files have: what lies at a path is looked at, and each form says whether it would read it and why.

Nothing is read whole: of a folder some thousand names, of a file its first entries.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

from tinygptv.config.formats import FORMATS
from tinygptv.data.first_entries import first_entries, first_members
from tinygptv.data.tables import is_picture
from tinygptv.ground.errors import DataError

MOST_NAMES = 5000
"""Names of files below a folder that are looked at; of each folder those of pictures come last."""
MOST_FILES = 20
"""Files whose first entries are looked at; where there are more, `files` is their folder."""
MOST_FOLDERS = 100
"""Folders beside a file in which its pictures are looked for."""


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
            shown = sorted(
                (name for name in files if not name.startswith(".")), key=lambda name: (is_picture(name), name)
            )
            found += [(folder / name).relative_to(self.path).as_posix() for name in shown]
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
        if name not in self._entries:
            self._entries[name] = first_entries(self.at(name))
        return self._entries[name]

    @cached_property
    def _entries(self) -> dict[str, list[Any]]:
        """Those that a form has asked for: every form looks at the same files."""
        return {}

    def members(self, name: str) -> dict[str, Any]:
        """The members of the one JSON object that a file of ``names`` is, of those that are lists the first entry."""
        if name not in self._members:
            self._members[name] = first_members(self.at(name))
        return self._members[name]

    @cached_property
    def _members(self) -> dict[str, dict[str, Any]]:
        return {}

    def at(self, name: str) -> Path:
        """Where a file of ``names`` is."""
        return self.path if self.path.is_file() else self.path / name


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
            found[form] = replace(recognised, files=(path,)) if len(recognised.files) > MOST_FILES else recognised
    return found


def object_files(
    look: Look, suffixes: tuple[str, ...], fits: Callable[[list[dict[str, Any]]], bool]
) -> dict[Path, list[dict[str, Any]]]:
    """The files whose first entries are objects of a form, with those entries.

    Args:
        look: what lies there.
        suffixes: endings of the files to look at.
        fits: whether these entries, at least one, are of the form.
    """
    found: dict[Path, list[dict[str, Any]]] = {}
    for number, name in enumerate(look.named(*suffixes)):
        entries = look.entries(name) if number < MOST_FILES else []
        if number >= MOST_FILES and len(found) == MOST_FILES:
            found[look.at(name)] = []
        elif entries and all(isinstance(entry, dict) for entry in entries) and fits(entries):
            found[look.at(name)] = entries
    return found


def member_files(look: Look, fits: Callable[[dict[str, Any]], bool]) -> dict[Path, dict[str, Any]]:
    """The JSON files that are one object of a form, with its members, of those that are lists the first entry.

    Args:
        look: what lies there.
        fits: whether members, by their names, are of the form.
    """
    members = {look.at(name): look.members(name) for name in look.named(".json")[:MOST_FILES]}
    return {path: found for path, found in members.items() if found and fits(found)}


def recognised_member(look: Look, member: str, keys: Collection[str], but: str = "") -> Recognised | None:
    """JSON objects with a list under a name, whose entries have these keys, and nothing under the name ``but``."""

    def fits(members: dict[str, Any]) -> bool:
        first = members.get(member)
        return isinstance(first, dict) and first.keys() >= set(keys) and but not in members

    files = member_files(look, fits)
    if not files:
        return None
    path = next(iter(files))
    told = " and ".join(f"`{key}`" for key in keys) + (f", and no `{but}`" if but else "")
    why = f"{path.name} has `{member}` with {told}"
    return Recognised(why=why, files=tuple(files), images=look.images or path.parent)


def keys_of(entries: Sequence[Mapping[str, Any]]) -> str:
    """The keys of the first of a file's entries, for ``why``."""
    return ", ".join(f"`{key}`" for key in entries[0])[:200]


def folder_of_pictures(look: Look, file: Path, names: Sequence[object]) -> Path | None:
    """The folder that the names in a file go out from: the one below which most of them are found.

    Args:
        look: what lies there; a folder of images that was named is the one.
        file: has the names.
        names: of its first entries.

    Returns:
        The folder; that of the file where nothing is found; None where there are no names.
    """
    named = [name for name in names if isinstance(name, str) and name.strip()]
    if not named or look.images is not None:
        return look.images
    if absolute := [name for name in named if name.startswith("/")]:
        above = os.path.commonpath([str(Path(name).parent) for name in absolute])
        return file.parent if above == "/" else Path(above)
    folders = [file.parent, *([look.path] if look.path.is_dir() else [])]
    with os.scandir(file.parent) as entries:
        folders += sorted(file.parent / entry.name for entry in entries if entry.is_dir())[:MOST_FOLDERS]

    def found(folder: Path) -> int:
        return sum(os.path.isfile(folder / name) for name in named)  # noqa: PTH113 (a Path raises where it is too long)

    return max(folders, key=found)

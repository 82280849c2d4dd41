"""``tinygptv data fetch``: the files of published sets, from their addresses or from a folder that has them already.

Everything lies below ``data/raw`` of the main checkout, pictures that several sets share once. A file is fetched when
all that it gives is there; so a second call asks for what is missing, and nothing is unpacked twice.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tinygptv.fetching.archives import unpack, unpacked_size
from tinygptv.fetching.http import fetch_file
from tinygptv.fetching.network import Network
from tinygptv.fetching.sources import SOURCES, DataSource, PublishedFile, Sources
from tinygptv.ground.errors import DataError
from tinygptv.ground.files import needing, require_room, sha256_file, sync_path
from tinygptv.ground.folders import STATE
from tinygptv.ground.locks import only_one
from tinygptv.ground.progress import Progress

DOWNLOADS = ".downloads"
"""Beside the place of a file, on its disk, hidden from whoever reads the folder."""


@dataclass(frozen=True, slots=True)
class MissingFile:
    """A file that is to be got."""

    entry: str
    file: PublishedFile
    home: Path
    """The checkout that has ``data/raw``."""
    copy: Path | None
    """Where somebody has it already."""

    @property
    def places(self) -> tuple[Path, ...]:
        """What is there afterwards."""
        return tuple(self.home / place for place in self.file.places)

    @property
    def download(self) -> Path:
        """Where it lies until it is in its place."""
        return self.places[0].parent / DOWNLOADS / f"{self.entry}-{self.file.name}"

    @property
    def left(self) -> int:
        """Bytes that are still to come; 0 where that is not known."""
        if self.copy is not None or self.download.is_file():
            return 0
        part = self.download.with_name(f"{self.download.name}.part")
        return max((self.file.size or 0) - (part.stat().st_size if part.is_file() else 0), 0)

    @property
    def kept(self) -> int:
        """Bytes that it takes in its place; of an archive at least as many as it has itself, where nobody says more."""
        return self.file.unpacked or self.file.size or 0

    @property
    def at_once(self) -> int:
        """Bytes that have to be free for it."""
        return self.left + (self.kept if self.file.unpack or self.copy else 0)


def missing_files(home: Path, sources: Sources, folder: Path | None = None) -> list[MissingFile]:
    """The files of these entries of which something is not there, each with its copy in a folder."""
    return [
        MissingFile(name, file, home, copy_in(folder, file))
        for name, source in sources.items()
        for file in source.files
        if not _is_there(home, file)
    ]


def by_hand(home: Path, source: DataSource) -> dict[str, str]:
    """Path → how a person gets what is not there."""
    return {path: how for path, how in source.by_hand.items() if not has_content(home / path)}


def has_content(path: Path) -> bool:
    """Whether a file or a folder that is not empty is there."""
    return path.is_file() or (path.is_dir() and any(path.iterdir()))


def fetch_files(wanted: list[MissingFile], network: Network, *, offline: bool) -> None:
    """Get the files, one after the other.

    Args:
        wanted: what ``missing_files`` found.
        network: who may be asked.
        offline: nobody: copies alone are taken.

    Raises:
        DataError: a file is not locked, has no copy, or is another one.
        PassingError: an address cannot be reached just now.
        BusyError: another process is at it.
        NoSpaceError: the disk has no room for all of them; nothing was begun.
    """
    for one in wanted:
        if not one.file.locked:
            raise DataError(
                f"{SOURCES} does not say what {one.file.name} of {one.entry} must be; run `tinygptv data lock "
                f"{one.entry}` once, which takes what its address has now on trust"
            )
        if one.file.to is not None and one.places[0].is_file():
            raise DataError(
                f"{one.places[0]} has {one.places[0].stat().st_size:,} bytes, {SOURCES} says {one.file.size:,}; "
                "remove it to fetch the other one"
            )
        if offline and one.copy is None:
            raise DataError(f"the folder has no {one.file.name} for {one.entry}; leave --from out to download it")
    for place, size in room_needed(wanted):
        require_room(place, size)
    for one in wanted:
        with only_one(lock_of(one.home, one.entry), f"fetching {one.entry}"):
            if not _is_there(one.home, one.file):
                _get(one, network)


def lock_of(home: Path, entry: str) -> Path:
    """What keeps two processes from fetching the same entry."""
    return home / STATE / "fetch" / f"{entry}.lock"


def room_needed(wanted: list[MissingFile]) -> Iterator[tuple[Path, int]]:
    """For each disk a place on it and the bytes that have to be free there, one file after the other being unpacked."""
    most: dict[int, tuple[Path, int]] = {}
    kept: dict[int, int] = {}
    for one in wanted:
        folder = next(path for path in one.places[0].parents if path.is_dir())
        disk = folder.stat().st_dev
        had = kept.get(disk, 0)
        needed = had + one.at_once
        most[disk] = folder, max(needed, most[disk][1] if disk in most else 0)
        kept[disk] = had + one.kept
    yield from most.values()


def _get(one: MissingFile, network: Network) -> None:
    """Bring a file to its place."""
    file, source = one.file, one.copy or one.download
    if one.copy is not None:
        _verify(source, file)
    elif not source.is_file() or sha256_file(source) != file.sha256:  # what came once and was not put in its place
        fetch_file(file.url, source, by=str(SOURCES), size=file.size, sha256=file.sha256, network=network)
    if file.unpack:
        require_room(one.places[0].parent, unpacked_size(source, file.unpack) or one.kept)
        unpack(source, {member: one.home / place for member, place in file.unpack.items()})
    else:
        _place(source, one.places[0], keep=one.copy is not None)
    if one.copy is None:
        source.unlink(missing_ok=True)
        with suppress(OSError):  # not empty
            source.parent.rmdir()
    print(f"{one.entry}: {file.name} is in {', '.join(file.places)}", flush=True)


def _place(source: Path, place: Path, *, keep: bool) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    if keep:
        beside = place.with_name(f".{place.name}.copying")
        with needing(place, source.stat().st_size):
            shutil.copyfile(source, beside)
        source = beside
    source.replace(place)
    sync_path(place.parent)


def _is_there(home: Path, file: PublishedFile) -> bool:
    """Whether everything that a file gives is there; a file of another size is not it."""
    there = all(has_content(home / place) for place in file.places)
    return there and (file.to is None or file.size in (None, (home / file.to).stat().st_size))


def copy_in(folder: Path | None, file: PublishedFile) -> Path | None:
    """A file of this name in a folder or below it; of another size it is another one, for many are ``images.zip``."""
    for path in sorted(folder.rglob(file.name)) if folder is not None else ():
        if path.is_file() and file.size in (None, path.stat().st_size):
            return path
    return None


def _verify(path: Path, file: PublishedFile) -> None:
    """Compare a whole file with the lock file.

    Raises:
        DataError: the message has both digests.
    """
    with Progress(f"{path.name}: digest", None, unit="file"):
        found = sha256_file(path)
    if found != file.sha256:
        raise DataError(f"{path}: {SOURCES} expects sha256 {file.sha256}, found {found}; get the file again")

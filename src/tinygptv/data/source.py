"""A data set as its form reads it: where its raw files are, their digests, and what is found in them."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, replace
from heapq import merge
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from tinygptv.config.formats import FORMATS
from tinygptv.data.blip_caption import processed
from tinygptv.data.manifest import RawFile, RawManifest
from tinygptv.ground.digests import DigestMemory
from tinygptv.ground.errors import DataError
from tinygptv.ground.worktree import main_of
from tinygptv.remotes.places import is_address, local_place

if TYPE_CHECKING:
    from tinygptv.config import DataSet
    from tinygptv.data.records import Record

Rejection = dict[str, str]
"""``{"id": ..., "reason": ...}`` of a record that is left out."""


@dataclass(frozen=True, slots=True)
class ImageFile:
    """Where the bytes of an image lie: a file, or a part of one, such as a member of a tar."""

    path: Path
    offset: int
    size: int
    sha256: str

    def read(self) -> bytes:
        """The bytes; not compared with the digest."""
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.size)


@dataclass(frozen=True, slots=True)
class Found:
    """A record, its image, and the split that the files put it in; empty: the shares of the profile decide."""

    record: Record
    image: ImageFile | bytes | None
    split: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """What a form is given."""

    name: str
    settings: DataSet
    files: tuple[Path, ...]
    """The files that hold records, in the order of the profile; none of a package, whose files are below ``images``."""
    images: Path
    """The folder that names of images are relative to; of a package: the folder of its files."""
    manifest: RawManifest
    """What ``download`` saw."""
    prefix: str
    """What stands in the manifest before the names of what is below ``images``."""

    def image(self, name: str) -> ImageFile | None:
        """A file by its name from ``images`` on; None where ``download`` saw none.

        It lies below, or, where the profile allows it, anywhere: the name may be absolute or have ``..``.
        """
        absolute = self.settings.outside == "allow" and name.startswith("/")
        found = self.manifest.find(name if absolute else self.prefix + name)
        return None if found is None else ImageFile(self.images / name, 0, found.size, found.sha256)

    def names(self, below: str = "") -> Iterator[str]:
        """Names of the files below ``images`` that begin so, sorted."""
        return (file.name.removeprefix(self.prefix) for file in self.manifest.below(self.prefix + below))


def form(settings: DataSet) -> ModuleType:
    """The module that reads a data set."""
    return import_module(FORMATS[settings.format])


def read_source(source: Source) -> Iterator[Found | Rejection]:
    """What its form reads of a data set, its texts processed as its section of the profile says."""
    found = form(source.settings).read(source)
    if not (what := source.settings.blip_caption):
        yield from found
        return
    for item in found:
        if isinstance(item, Found):
            turns = tuple(processed(turn, what) for turn in item.record.turns)
            item = replace(item, record=replace(item.record, turns=turns))
        yield item


def raw_files(settings: DataSet, root: Path) -> Iterator[tuple[str, Path]]:
    """Every raw file of a data set, sorted by name: the name, the same on every machine, and where it is.

    Args:
        settings: the data set.
        root: the checkout.

    Raises:
        DataError: a file, the folder of images or the package is missing.
    """
    if (base := _packaged(settings, root)) is not None:
        yield from _below(base, "")
        return
    records = sorted(_record_files(settings, root))
    images = _below(_folder(settings, root), _prefix(settings)) if settings.images else iter(())
    outside = _outside(settings, root) if settings.outside == "allow" else iter(())
    former = None
    for name, path in merge(records, images, outside, key=lambda item: item[0]):
        if name != former:  # a file with records may lie among the images
            yield name, path
        former = name


def open_source(name: str, settings: DataSet, root: Path, manifest: Path) -> Source:
    """A data set, ready to be read.

    Args:
        name: the data set's.
        settings: its section of the profile.
        root: the checkout.
        manifest: what ``download`` wrote of it.

    Raises:
        DataError: a file with records is not what ``download`` saw.
    """
    seen, packaged = RawManifest(manifest), _packaged(settings, root)
    if packaged is not None:
        return Source(name, settings, (), packaged, seen, "")
    files = dict(_record_files(settings, root))
    with DigestMemory.opened() as memory:
        for file, path in files.items():
            found = seen.find(file)
            if found is None or found.sha256 != memory.sha256(path)[1]:
                raise DataError(f"data set {name}: {path} was changed since `download`; run `dvc repro download`")
    return Source(name, settings, tuple(files.values()), place_of(settings.images, root), seen, _prefix(settings))


class _OnDisk(RawManifest):
    """Stands for a manifest before there is one: pictures are looked for on the disk, those outside are noted there."""

    def __init__(self, settings: DataSet, root: Path) -> None:
        self._prefix, self._folder = _prefix(settings), place_of(settings.images, root)
        self._base = sqlite3.connect("", isolation_level=None)
        self._base.execute("PRAGMA journal_mode = OFF")
        self._base.execute("CREATE TABLE outside (name BLOB PRIMARY KEY) WITHOUT ROWID")

    def find(self, name: str) -> RawFile | None:
        """A file, without its digest, by the name that it would have in the manifest."""
        within = bool(self._prefix) and name.startswith(self._prefix)
        rest = name.removeprefix(self._prefix) if within else name
        path = self._folder / rest
        if not os.path.isfile(path):  # noqa: PTH113 (a Path raises where it is too long)
            return None
        if not within or ".." in Path(rest).parts:
            self._base.execute("INSERT OR IGNORE INTO outside VALUES (?)", (name.encode(errors="surrogatepass"),))
        return RawFile(name, path.stat().st_size, "")

    def below(self, start: str) -> Iterator[RawFile]:
        """The files of the folder of images whose names begin so."""
        for name, path in _below(self._folder, self._prefix):
            if name.startswith(start):
                yield RawFile(name, path.stat().st_size, "")

    def outside(self) -> Iterator[tuple[str, Path]]:
        """Those that were noted, sorted by name."""
        for (stored,) in self._base.execute("SELECT name FROM outside ORDER BY name"):
            name = bytes(stored).decode(errors="surrogatepass")
            yield name, self._folder / name.removeprefix(self._prefix)


def _outside(settings: DataSet, root: Path) -> Iterator[tuple[str, Path]]:
    """The pictures out of the folder of images that records name, sorted by name: all records are read for them."""
    files = tuple(dict(_record_files(settings, root)).values())
    seen = _OnDisk(settings, root)
    source = Source("", settings, files, place_of(settings.images, root), seen, _prefix(settings))
    for _ in read_source(source):
        pass
    yield from seen.outside()


def _packaged(settings: DataSet, root: Path) -> Path | None:
    """The folder of a data set that comes in a package, or of its copy in ``images``; None for a user's own files."""
    module = form(settings)
    if not hasattr(module, "folder"):
        return None
    folder: Path = _folder(settings, root) if settings.images else module.folder()
    return folder


def _record_files(settings: DataSet, root: Path) -> Iterator[tuple[str, Path]]:
    """What ``files`` names: files, or all below a folder; and, of some forms, what describes a file beside it."""
    for name in settings.files:
        path = place_of(name, root)
        if path.is_dir():
            yield from _below(path, f"{name.rstrip('/')}/")
        elif path.is_file():
            yield name, path
            for other in getattr(form(settings), "BESIDE", ()):
                if (beside := path.with_name(other)).is_file():
                    yield name.removesuffix(path.name) + other, beside
        else:
            raise DataError(f"{_told(name, path)} is missing; {_fix(name, 'files')}")


def place_of(name: str, root: Path) -> Path:
    """Where a raw file or folder is. It need not be in git, so that a worktree finds it in the main checkout.

    What lies elsewhere has been fetched (``remotes.fetch``).
    """
    if is_address(name):
        return local_place(name, root)
    own = root / name
    return own if own.exists() or main_of(root) == root else main_of(root) / name


def _folder(settings: DataSet, root: Path) -> Path:
    if not (folder := place_of(settings.images, root)).is_dir():
        raise DataError(f"{_told(settings.images, folder)} is no folder; {_fix(settings.images, 'images')}")
    return folder


def _told(name: str, place: Path) -> str:
    return f"{name} (fetched to {place})" if is_address(name) else str(place)


def _fix(name: str, key: str) -> str:
    return f"correct `{key}` of the data set{', or run `dvc repro download`' if is_address(name) else ''}"


def _prefix(settings: DataSet) -> str:
    return f"{settings.images.rstrip('/')}/" if settings.images else ""


def _below(folder: Path, prefix: str, above: frozenset[tuple[int, int]] = frozenset()) -> Iterator[tuple[str, Path]]:
    """The files of a folder and its folders, sorted by name; those with a hidden name are no data.

    Links to folders are followed, as sets of pictures often are; not one that leads to a folder that it lies in.
    """
    status = folder.stat()
    if (here := (status.st_dev, status.st_ino)) in above:
        return
    with os.scandir(folder) as entries:
        found = [f"{entry.name}/" if entry.is_dir() else entry.name for entry in entries if entry.name[0] != "."]
    for name in sorted(found):  # with its slash a folder stands where the names of its files do
        if name.endswith("/"):
            yield from _below(folder / name, f"{prefix}{name}", above | {here})
        elif (path := folder / name).is_file():
            yield f"{prefix}{name}", path

"""A data set as its form reads it: where its raw files are, their digests, and what is found in them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from tinygptv.config.formats import FORMATS
from tinygptv.ground.errors import ConfigError, DataError

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
    """The files that hold records, as the profile lists them; of a package: all of its files."""
    images: Path
    """The folder that names of images are relative to; of a package: the folder of its files."""
    digests: Mapping[Path, str]
    """SHA-256 of every raw file, as ``download`` saw it."""

    def image(self, path: Path) -> ImageFile:
        """A whole file as an image.

        Raises:
            KeyError: ``download`` saw no such file.
        """
        return ImageFile(path, 0, path.stat().st_size, self.digests[path])


def form(settings: DataSet) -> ModuleType:
    """The module that reads a data set.

    Raises:
        ConfigError: none does.
    """
    if settings.format not in FORMATS:
        raise ConfigError(
            f"no module reads data sets of the format {settings.format} yet; docs/data.md says which are read, and how "
            "your own records become a data set"
        )
    return import_module(FORMATS[settings.format])


def raw_files(settings: DataSet, root: Path) -> Iterator[tuple[str, Path]]:
    """Every raw file of a data set: its name, the same on every machine, and where it is.

    Args:
        settings: the data set.
        root: the checkout.

    Raises:
        ConfigError: no module reads its format.
        DataError: a file, the folder of images or the package is missing.
    """
    if (base := _packaged(settings, root)) is not None:
        yield from ((path.relative_to(base).as_posix(), path) for path in _below(base))
        return
    for name in settings.files:
        if not (path := root / name).is_file():
            raise DataError(f"{path} is missing; correct `files` of the data set")
        yield name, path
    if settings.images:
        beside = settings.images.rstrip("/")
        folder = _folder(settings, root)
        yield from ((f"{beside}/{path.relative_to(folder).as_posix()}", path) for path in _below(folder))


def open_source(name: str, settings: DataSet, root: Path, digests: Mapping[str, str]) -> Source:
    """A data set, ready to be read.

    Args:
        name: the data set's.
        settings: its section of the profile.
        root: the checkout.
        digests: name of a raw file → SHA-256, of all of them.
    """
    places = dict(raw_files(settings, root))
    if differing := sorted(places.keys() ^ digests.keys()):
        raise DataError(f"data set {name}: {differing[0]} came or went since `download`; run `dvc repro download`")
    packaged = _packaged(settings, root)
    files = tuple(root / file for file in settings.files) if packaged is None else tuple(places.values())
    images = root / settings.images if packaged is None else packaged
    return Source(name, settings, files, images, {places[key]: sha256 for key, sha256 in digests.items()})


def set_digest(digests: Mapping[str, str]) -> str:
    """One SHA-256 over names and contents of a data set's raw files, in the form of ``files.sha256_tree``."""
    whole = hashlib.sha256()
    for name in sorted(digests):
        whole.update(f"{name}\0{digests[name]}\n".encode())
    return whole.hexdigest()


def _packaged(settings: DataSet, root: Path) -> Path | None:
    """The folder of a data set that comes in a package, or of its copy in ``images``; None for a user's own files."""
    module = form(settings)
    if not hasattr(module, "folder"):
        return None
    folder: Path = _folder(settings, root) if settings.images else module.folder()
    return folder


def _folder(settings: DataSet, root: Path) -> Path:
    if not (folder := root / settings.images).is_dir():
        raise DataError(f"{folder} is no folder; correct `images` of the data set")
    return folder


def _below(folder: Path) -> Iterator[Path]:
    """The files of a folder and its folders; those with a hidden name are no data."""
    for base, folders, files in os.walk(folder):
        folders.sort()
        yield from (Path(base) / file for file in sorted(files) if not file.startswith("."))

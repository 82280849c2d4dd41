"""A folder of pictures as Hugging Face's `imagefolder` reads it: with metadata beside them, or in a folder a class.

Source: huggingface.co/docs/datasets/image_dataset. Metadata are found wherever they lie, at the root and in the folder
of a split alike; the names in them go out from their own folder.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from tinygptv.data.conversations import rejection
from tinygptv.data.named_splits import WORDS
from tinygptv.data.pair_rows import class_record, pair_rows
from tinygptv.data.recognise import Recognised
from tinygptv.data.record_names import RecordNames
from tinygptv.data.source import Found, ImageFile, Rejection, Source
from tinygptv.data.tables import SUFFIXES, is_picture
from tinygptv.ground.digests import DigestMemory
from tinygptv.ground.errors import DataError

if TYPE_CHECKING:
    from tinygptv.data.recognise import Look

METADATA = ("metadata.jsonl", "metadata.csv", "metadata.parquet")


def read(source: Source) -> Iterator[Found | Rejection]:
    """The records that metadata have; without any, a question about each picture's class, which its folder names.

    Raises:
        DataError: the set has no folder, there is no picture in it, or metadata are damaged or were changed.
    """
    if source.files or not source.settings.images:
        raise DataError(f"data set {source.name}: of an imagefolder name the folder in `images`, and no `files`")
    metadata, folders, pictures = [], set(), 0
    for name in source.names():
        folders.add(_split_folder(name))
        pictures += is_picture(name)
        if PurePosixPath(name).name in METADATA:
            metadata.append(name)
    if not pictures:
        raise DataError(f"data set {source.name}: {source.images} has no pictures; correct its `images`")
    splits = {folder: WORDS[folder.lower()] for folder in folders if folder}
    if len(set(splits.values())) < 2:
        splits = {}  # they part nothing: the shares of the profile decide
    return _of_metadata(source, metadata, splits) if metadata else _of_classes(source, splits)


def recognise(look: Look) -> Recognised | None:
    """A folder with metadata that name pictures, or with two folders of pictures and nothing that says more of them."""
    if look.path.is_file():
        return None
    for name in look.names:
        if PurePosixPath(name).name in METADATA:
            named = all(isinstance(entry, dict) and _names_files(entry) for entry in look.entries(name))
            return Recognised(why=f"{name} has `file_name`s", images=look.path) if named else None
    pictures = {name for name in look.names if is_picture(name)}
    classes = {label for name in pictures if (label := _class_of(name))}
    told_of = {PurePosixPath(name).with_suffix("") for name in look.named(".txt")}
    said = look.named(*SUFFIXES, ".tar") or told_of & {PurePosixPath(name).with_suffix("") for name in pictures}
    if len(classes) < 2 or said:
        return None
    told = ", ".join(sorted(classes)[:5])
    return Recognised(why=f"its {len(classes)} folders of pictures are classes: {told}", images=look.path)


def _of_metadata(source: Source, metadata: list[str], splits: Mapping[str, str]) -> Iterator[Found | Rejection]:
    with closing(RecordNames()) as names, DigestMemory.opened() as memory:
        for name in metadata:
            file = source.image(name)
            assert file is not None, "the manifest named it"
            if file.sha256 and memory.sha256(file.path)[1] != file.sha256:
                raise DataError(f"{file.path} was changed since `download`; run `dvc repro download`")
            folder = f"{above}/" if (above := name.rpartition("/")[0]) else ""
            for item in pair_rows(file.path, source, names, folder=folder):
                yield (
                    item
                    if isinstance(item, dict) or item.split
                    else replace(item, split=_split_of(item, source, splits))
                )


def _of_classes(source: Source, splits: Mapping[str, str]) -> Iterator[Found | Rejection]:
    for name in filter(is_picture, source.names()):
        image, label = source.image(name), _class_of(name)
        if image is None or not label:
            yield rejection(name, "lies in no folder of a class, and no metadata.jsonl names it")
        else:
            yield replace(class_record(name, label, source, image), split=splits.get(_split_folder(name), ""))


def _class_of(name: str) -> str:
    """The class of a picture, which the folder that it lies in is called by; empty where it lies in none."""
    folders = PurePosixPath(name).parts[:-1][bool(_split_folder(name)) :]
    return folders[-1].replace("_", " ").strip() if folders else ""


def _split_of(found: Found, source: Source, splits: Mapping[str, str]) -> str:
    """The split of a picture, by the folder that it lies in."""
    assert isinstance(found.image, ImageFile), "of a row with a picture"
    if not found.image.path.is_relative_to(source.images):
        return ""
    return splits.get(_split_folder(found.image.path.relative_to(source.images).as_posix()), "")


def _split_folder(name: str) -> str:
    """The folder of a split that a file lies in; empty where it lies in none."""
    first, slash, _ = name.partition("/")
    return first if slash and first.lower() in WORDS else ""


def _names_files(row: Mapping[str, object]) -> bool:
    return any(name.lower().endswith(("file_name", "file_names")) for name in row)

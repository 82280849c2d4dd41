"""Samples of tars by their keys: one is read, checked and decoded when it is asked for, and none is kept.

What is in memory is where they lie: some 500 bytes a sample.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple

from tinygptv.data.record_json import parse_record, parse_sample
from tinygptv.data.record_rules import RecordError
from tinygptv.data.records import ImageRecord, ImageSample
from tinygptv.data.tar_index import damaged, tar_index


class Members(NamedTuple):
    """Where a sample's files lie in a tar: offset and size of each."""

    tar: Path
    json: tuple[int, int]
    image: tuple[int, int]
    extension: str
    """Of the image; empty where the sample has none."""


class Samples:
    """The samples of data sets, in the order of the sets, of their tars, and of the tars' members."""

    def __init__(self, tars: Mapping[str, Iterable[Path]]) -> None:
        """Find the samples.

        Args:
            tars: name of a data set → its tars.

        Raises:
            DataError: a tar is missing, damaged, cut or foreign, or a key is in two tars of a set.
        """
        self._members: dict[tuple[str, str], Members] = {}
        for dataset, paths in tars.items():
            for path in paths:
                for key, members in tar_members(path):
                    if former := self._members.get((dataset, key)):
                        raise damaged(path, f"sample {key} is also in {former.tar.name}")
                    self._members[dataset, key] = members

    def records(self) -> Iterator[ImageRecord]:
        """The JSON of every sample, checked.

        Raises:
            DataError: one breaks the record format, or is of another data set than its folder.
        """
        for dataset, key in self._members:
            yield self.record(dataset, key)

    def record(self, dataset: str, key: str) -> ImageRecord:
        """The JSON of a sample, checked.

        Raises:
            DataError: it breaks the record format, or is of another data set than its folder.
        """
        members = self._members[dataset, key]
        with members.tar.open("rb") as file:
            record = read_record(file, key, members)
        if record.dataset != dataset:
            raise damaged(members.tar, f"{key}.json: is of the data set {record.dataset}, not of {dataset}")
        return record

    def image_bytes(self, dataset: str, key: str) -> bytes:
        """The file of a sample's image as it lies in the tar; not checked."""
        members = self._members[dataset, key]
        with members.tar.open("rb") as file:
            return _read(file, members.image)

    def tar(self, dataset: str, key: str) -> Path:
        """The tar that a sample is in."""
        return self._members[dataset, key].tar

    def read(self, dataset: str, key: str) -> ImageSample:
        """A sample, its image decoded.

        Raises:
            DataError: it is damaged.
        """
        members = self._members[dataset, key]
        with members.tar.open("rb") as file:
            content = _read(file, members.json)
            image = _read(file, members.image)
        try:
            sample = parse_sample(key, content, image)
            same_file(sample.record, members.extension)
        except RecordError as error:
            raise damaged(members.tar, str(error)) from None
        return sample


def tar_members(path: Path) -> Iterator[tuple[str, Members]]:
    """Key and files of every sample of a tar: one JSON, and at most one image.

    Raises:
        DataError: the tar is missing, damaged, cut or foreign.
    """
    by_key: dict[str, dict[str, tuple[int, int]]] = {}
    for name, place in tar_index(path).items():
        key, _, extension = name.partition(".")
        by_key.setdefault(key, {})[extension] = place
    for key, places in by_key.items():
        images = [extension for extension in places if extension != "json"]
        if "json" not in places or len(images) > 1:
            raise damaged(
                path, f"sample {key} must be one .json and at most one image, not .{', .'.join(sorted(places))}"
            )
        extension = "".join(images)
        yield key, Members(path, places["json"], places.get(extension, (0, 0)), extension)


def read_record(file: BinaryIO, key: str, members: Members) -> ImageRecord:
    """The JSON of a sample, checked; ``file`` is its tar, open.

    Raises:
        DataError: it breaks the record format.
    """
    try:
        record = parse_record(key, _read(file, members.json))
        same_file(record, members.extension)
    except RecordError as error:
        raise damaged(members.tar, f"{key}.json: {error}") from None
    return record


def same_file(record: ImageRecord, extension: str) -> None:
    """Check that a sample's JSON names the image that lies beside it; else raise ``RecordError``."""
    expected = "" if record.image is None else record.image.file
    found = f"{record.key}.{extension}" if extension else ""
    if found != expected:
        raise RecordError(f"image.file is {expected or 'none'}, the member is {found or 'missing'}", record.key)


def _read(file: BinaryIO, place: tuple[int, int]) -> bytes:
    offset, size = place
    file.seek(offset)
    return file.read(size)

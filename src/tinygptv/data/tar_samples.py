"""The records of tars that others made, sample by sample; pictures stay where they lie in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from tinygptv.data.conversations import rejection
from tinygptv.data.own_tars import Member, TarSamples, image_at
from tinygptv.data.record_names import RecordNames
from tinygptv.data.record_rules import RecordError
from tinygptv.data.sample_files import OBJECT, PICTURES, TEXT, SampleFile, SampleFiles, object_of, records_of_sample
from tinygptv.data.source import Found, ImageFile, Rejection, Source

Saw = Callable[[str, Mapping[str, Any]], None]
"""Is told the key and the JSON of each sample that has one."""


def records_of_tar(
    path: Path, samples: TarSamples, source: Source, names: RecordNames, split: str, saw: Saw
) -> Iterator[Found | Rejection]:
    """The records of a tar, in the order in which its samples begin."""
    with path.open("rb") as file:
        for key, members in samples:
            if _is_beside(key, members, samples):
                continue
            files = {ending: [_file(path, file, one) for one in listed] for ending, listed in members.items()}
            yield from records_of_files(key, files, source, names, split, saw)


def records_of_files(
    key: str, files: SampleFiles, source: Source, names: RecordNames, split: str, saw: Saw
) -> Iterator[Found | Rejection]:
    """The records of one sample, or why there are none."""
    try:
        content = object_of(files)
        if content is not None:
            saw(key, content)
        for found in records_of_sample(key, files, content, source, names):
            yield replace(found, split=split)
    except RecordError as error:
        yield rejection(key, error.reason)
    except RecursionError:
        yield rejection(key, "is nested too deeply")


def _is_beside(key: str, members: Mapping[str, list[Member]], samples: TarSamples) -> bool:
    """Whether these are not a sample but more of another one, as the mask `1.seg.png` is beside `1.jpg`."""
    if members.keys() & {TEXT, OBJECT, *PICTURES} == set():
        return True
    folder, slash, base = key.rpartition("/")
    first = f"{folder}{slash}{base.partition('.')[0]}"
    return not members.keys() & {TEXT, OBJECT} and first != key and bool(samples.endings(first) & {*PICTURES})


def _file(path: Path, file: BinaryIO, member: Member) -> SampleFile:
    def read() -> bytes:
        file.seek(member.offset)
        return file.read(member.size)

    def image() -> ImageFile:
        return image_at(path, file, member)

    return SampleFile(member.size, member.plain, read, image)

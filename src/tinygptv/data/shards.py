"""WebDataset shards: written byte for byte the same each time, read with nothing taken on trust.

Samples are read by WebDataset itself; before that, the tar's structure is checked here, because WebDataset and
tarfile pass over much in silence: an archive cut between members, links, odd names, samples in pieces.
"""

from __future__ import annotations

import os
import re
import shutil
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

from tinygptv.data.records import (
    IMAGE_FORMATS,
    TASKS,
    ImageRecord,
    ImageSample,
    RecordError,
    parse_record,
    parse_sample,
)
from tinygptv.data.summary import mend, read_digests, read_summary, replace_split
from tinygptv.ground.errors import DataError, UserError
from tinygptv.ground.file_names import SUMMARY
from tinygptv.ground.files import needing, sha256_file, sync_tree

SAMPLE_EXTENSIONS = frozenset({"json", *IMAGE_FORMATS})
_MEMBER = re.compile(r"([A-Za-z0-9][A-Za-z0-9_-]*)\.([a-z0-9]+)")
_SPLIT = re.compile(r"[A-Za-z0-9_]+")
_BLOCK = 512
_LONGEST_END = 1 << 20
_LARGEST_MEMBER = 128 << 20
_MOST_MEMBERS = 200_000
"""A tar with more would take the memory of a small machine before anybody has looked at a sample."""


def write_shards(folder: Path, split: str, samples: Iterable[ImageSample], images_per_shard: int) -> list[Path]:
    """Write a split as ``<split>-000000.tar`` and so on, listed in ``summary.json``; equal samples give equal bytes.

    What the folder held of the split goes, everything else stays. The tars are made aside: whatever fails leaves the
    folder as it was, and a kill while they take their places leaves a split that is refused until it is written again.

    Args:
        folder: where to write; it is made if need be.
        split: first part of the file names: letters, digits and `_`.
        samples: in the order in which they are to be read.
        images_per_shard: samples of a tar; the last one may have fewer.

    Returns:
        The paths written.

    Raises:
        UserError: the split's name or the size of the tars makes no sense.
        DataError: the folder has a ``summary.json`` that is none of shards.
    """
    if not _SPLIT.fullmatch(split) or images_per_shard < 1:
        raise UserError(
            f"cannot write the split {split!r} with {images_per_shard} images in a tar: a name has letters, digits and "
            "`_`, a tar at least one image"
        )
    read_summary(folder)
    staged = folder / f".{split}.new"
    shutil.rmtree(staged, ignore_errors=True)  # left by a kill
    digests: dict[str, str] = {}
    images, tasks, rest = 0, Counter[str](), iter(samples)
    try:
        staged.mkdir(parents=True)
        while part := list(islice(rest, images_per_shard)):
            path = staged / f"{split}-{len(digests):06d}.tar"
            write_members(path, ((sample.key, _files(sample)) for sample in part))
            digests[path.name] = sha256_file(path)
            images += len(part)
            tasks.update(record.task for sample in part for record in sample.record.records)
        sync_tree(staged)
        counts = {"images": images, "records": tasks.total(), "tasks": {task: tasks[task] for task in TASKS}}
        replace_split(folder, split, staged, digests, counts)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return [folder / name for name in digests]


def write_members(path: Path, samples: Iterable[tuple[str, Mapping[str, bytes]]]) -> None:
    """Write one tar, whole or not at all.

    Args:
        path: the tar; its folder must exist.
        samples: keys, and the bytes of a key's files by extension.
    """
    wds = _webdataset()
    temporary = path.with_name(f".{path.name}.tmp")
    members = [(key, dict(files)) for key, files in samples]
    size = sum(_BLOCK - len(content) // -_BLOCK * _BLOCK for _, files in members for content in files.values())
    try:
        with (
            needing(path, size),
            temporary.open("wb") as file,
            wds.TarWriter(file, user="", group="", mode=0o444, mtime=0, compress=False, encoder=False) as tar,
        ):
            for key, files in members:
                tar.write({"__key__": key, **files})
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_samples(paths: Iterable[Path]) -> Iterator[ImageSample]:
    """Read and check samples, images decoded, in the order of the shards and of their members.

    Raises:
        DataError: a shard is missing, damaged, cut or foreign; the message names the tar and the member.
    """
    seen: dict[str, Path] = {}
    for path in paths:
        samples = _sample_members(path, seen)
        for raw in _read_with_webdataset(path):
            key = raw["__key__"]
            extension, _ = samples[key]
            try:
                sample = parse_sample(key, raw["json"], raw[extension])
                _same_file(sample.record, extension)
            except RecordError as error:
                raise _damaged(path, f"{key}.{extension}: {error}") from None
            yield sample


def read_records(paths: Iterable[Path]) -> Iterator[ImageRecord]:
    """Read and check the JSON of samples only: a fraction of the time where no pixels are needed.

    Raises:
        DataError: as ``read_samples``, but for damage inside an image.
    """
    seen: dict[str, Path] = {}
    for path in paths:
        samples = _sample_members(path, seen)
        with path.open("rb") as file:
            for key, (extension, (offset, size)) in samples.items():
                file.seek(offset)
                try:
                    record = parse_record(key, file.read(size))
                    _same_file(record, extension)
                except RecordError as error:
                    raise _damaged(path, f"{key}.json: {error}") from None
                yield record


def read_members(path: Path, extensions: frozenset[str]) -> dict[str, bytes]:
    """The checked members of a small tar, by name.

    Raises:
        DataError: as ``tar_index``.
    """
    index = tar_index(path, extensions)
    content = path.read_bytes()
    return {name: content[offset : offset + size] for name, (offset, size) in index.items()}


def tar_index(path: Path, extensions: frozenset[str] = SAMPLE_EXTENSIONS) -> dict[str, tuple[int, int]]:
    """Where each member's data lie in an uncompressed tar: name → (offset, size).

    Args:
        path: the tar.
        extensions: the extensions that members may have.

    Raises:
        DataError: the tar is missing, damaged or cut, is not the one of ``summary.json`` beside it, or a member is not
            a plain file with a plain name, comes twice, or lies apart from the other files of its key.
    """
    index: dict[str, tuple[int, int]] = {}
    keys: dict[str, None] = {}
    last = "the start"
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            while any(header := file.read(_BLOCK)):
                member = _member(path, header, last, extensions)
                key = member.name.partition(".")[0]
                if member.name in index:
                    raise _damaged(path, f"member {member.name} comes twice")
                if key in keys and key != next(reversed(keys)):
                    raise _damaged(path, f"member {member.name} lies apart from the other files of its sample")
                if len(index) == _MOST_MEMBERS:
                    raise _damaged(path, f"member {member.name} is one too many: the limit is {_MOST_MEMBERS}")
                last, offset = member.name, file.tell()
                keys[key], index[last] = None, (offset, member.size)
                if file.seek(offset + -(-member.size // _BLOCK) * _BLOCK) > size:
                    raise _damaged(path, f"member {last} is cut off")
            rest = file.read(_LONGEST_END)
    except FileNotFoundError:
        raise DataError(f"{path} is missing; {mend(path.parent)}") from None
    if len(header) + len(rest) < 2 * _BLOCK or len(rest) == _LONGEST_END or any(rest):
        raise _damaged(path, f"after member {last} it is damaged or cut off: a tar ends in two empty blocks")
    _check_digest(path, index)
    return index


def _member(path: Path, header: bytes, last: str, extensions: frozenset[str]) -> tarfile.TarInfo:
    """A header that is what it must be. Headers are read one by one: tarfile would take a damaged one for the end,
    and would load an extended one (PAX, GNU) of any size into memory.
    """
    try:
        member = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        raise _damaged(path, f"the header after member {last} is damaged or cut off ({error})") from None
    if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.size < 0:
        raise _damaged(path, f"member {member.name!r} is not a plain file of a plain (ustar) tar")
    if member.size > _LARGEST_MEMBER:
        raise _damaged(path, f"member {member.name!r} has {member.size} bytes; the limit is {_LARGEST_MEMBER}")
    match = _MEMBER.fullmatch(member.name)
    if match is None:
        raise _damaged(path, f"member {member.name!r} is not named <key>.<extension>")
    if match[2] not in extensions:
        raise _damaged(path, f"member {member.name!r} has none of the extensions {', '.join(sorted(extensions))}")
    return member


def _check_digest(path: Path, index: dict[str, tuple[int, int]]) -> None:
    """Compare a shard with the digest that was recorded when it was written, where there is one."""
    digests = read_digests(path.parent)
    if digests is None:
        return
    if path.name not in digests:
        raise _damaged(path, f"{SUMMARY} does not list it")
    if sha256_file(path) != digests[path.name]:
        raise _damaged(path, f"{_first_damage(path, index)}its digest is not the one in {SUMMARY}")


def _first_damage(path: Path, index: dict[str, tuple[int, int]]) -> str:
    """Name the first sample that shows the damage by itself, if any does."""
    content = path.read_bytes()
    files = {name: content[offset : offset + size] for name, (offset, size) in index.items()}
    for name in files:
        key, _, extension = name.partition(".")
        if extension in IMAGE_FORMATS and f"{key}.json" in files:
            try:
                parse_sample(key, files[f"{key}.json"], files[name])
            except RecordError as error:
                return f"member {name} or {key}.json: {error}; "
    return ""


def _sample_members(path: Path, seen: dict[str, Path]) -> dict[str, tuple[str, tuple[int, int]]]:
    """Key → extension of the image, and where the JSON lies, of every sample of a shard: one JSON, one image each."""
    index = tar_index(path, SAMPLE_EXTENSIONS)
    members: dict[str, list[str]] = {}
    for name in index:
        key, _, extension = name.partition(".")
        members.setdefault(key, []).append(extension)
    samples: dict[str, tuple[str, tuple[int, int]]] = {}
    for key, extensions in members.items():
        images = [extension for extension in extensions if extension != "json"]
        if len(images) != 1 or len(extensions) != 2:
            raise _damaged(path, f"sample {key} must be one .json and one image, not .{', .'.join(sorted(extensions))}")
        if key in seen:
            raise _damaged(path, f"sample {key} is also in {seen[key].name}")
        seen[key] = path
        samples[key] = images[0], index[f"{key}.json"]
    return samples


def _read_with_webdataset(path: Path) -> Iterator[dict[str, Any]]:
    """Raw samples of one shard. The stream is opened here: a path never becomes a WebDataset address."""
    wds = _webdataset()
    with path.open("rb") as stream:
        files = wds.tariterators.tar_file_expander([{"url": str(path), "stream": stream}])
        yield from wds.tariterators.group_by_keys(files)


def _webdataset() -> ModuleType:
    """WebDataset with its safety switch on; it is read at import, so a former import is corrected too."""
    os.environ["WDS_SECURE"] = "1"
    import webdataset

    webdataset.utils.enforce_security = True
    return webdataset


def _same_file(record: ImageRecord, extension: str) -> None:
    if record.image.file != f"{record.key}.{extension}":
        raise RecordError(f"image.file is {record.image.file}, the member is {record.key}.{extension}", record.key)


def _files(sample: ImageSample) -> dict[str, bytes]:
    """A sample's files by extension."""
    return {"json": sample.record.to_json(), sample.record.image.file.rpartition(".")[2]: sample.image_bytes}


def _damaged(path: Path, what: str) -> DataError:
    return DataError(f"{path}: {what}; {mend(path.parent)}")

"""The structure of shards' tars, with nothing taken on trust.

WebDataset and tarfile pass over much in silence: an archive cut between members, links, odd names, samples in pieces.
"""

from __future__ import annotations

import os
import re
import tarfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from tinygptv.data.record_json import parse_sample
from tinygptv.data.record_rules import IMAGE_FORMATS, RecordError
from tinygptv.data.summary import mend, read_digests
from tinygptv.ground.errors import DataError
from tinygptv.ground.file_names import SUMMARY
from tinygptv.ground.files import sha256_file

_EXTENSIONS = frozenset({"json", *IMAGE_FORMATS})
_MEMBER = re.compile(r"([A-Za-z0-9][A-Za-z0-9_-]*)\.([a-z0-9]+)")
BLOCK = 512
_LONGEST_END = 1 << 20
LARGEST_MEMBER = 128 << 20
_MOST_MEMBERS = 200_000
"""A tar with more would take the memory of a small machine before anybody has looked at a sample."""


def stream_members(path: Path, digest: str) -> Iterator[tuple[str, bytes]]:
    """Names and content of a tar's members in their order; one is in memory, and every byte is read once.

    Whether all of them are what was written is known at the end alone: until then, nothing made of them may be kept.

    Args:
        path: the tar.
        digest: its SHA-256.

    Raises:
        DataError: the tar is missing or damaged, or its digest is another one.
    """
    seen, last = sha256(), "the start"
    try:
        with path.open("rb") as file:
            while any(header := file.read(BLOCK)):
                member = _member(path, header, last)
                content = file.read(-(-member.size // BLOCK) * BLOCK)
                if len(content) < member.size:
                    raise damaged(path, f"member {member.name} is cut off")
                seen.update(header)
                seen.update(content)
                yield member.name, content[: member.size]
                last = member.name
            seen.update(header)
            while rest := file.read(_LONGEST_END):
                seen.update(rest)
    except FileNotFoundError:
        raise DataError(f"{path} is missing; {mend(path.parent)}") from None
    if seen.hexdigest() != digest:
        raise damaged(path, "its digest is not the recorded one")


def first_key(path: Path) -> str:
    """The key of a tar's first member.

    Raises:
        DataError: the tar is missing, or does not begin with a member.
    """
    try:
        with path.open("rb") as file:
            return _member(path, file.read(BLOCK), "the start").name.partition(".")[0]
    except FileNotFoundError:
        raise DataError(f"{path} is missing; {mend(path.parent)}") from None


def tar_index(path: Path) -> dict[str, tuple[int, int]]:
    """Where each member's data lie in an uncompressed tar: name → (offset, size).

    Args:
        path: the tar.

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
            while any(header := file.read(BLOCK)):
                member = _member(path, header, last)
                key = member.name.partition(".")[0]
                if member.name in index:
                    raise damaged(path, f"member {member.name} comes twice")
                if key in keys and key != next(reversed(keys)):
                    raise damaged(path, f"member {member.name} lies apart from the other files of its sample")
                if len(index) == _MOST_MEMBERS:
                    raise damaged(path, f"member {member.name} is one too many: the limit is {_MOST_MEMBERS}")
                last, offset = member.name, file.tell()
                keys[key], index[last] = None, (offset, member.size)
                if file.seek(offset + -(-member.size // BLOCK) * BLOCK) > size:
                    raise damaged(path, f"member {last} is cut off")
            rest = file.read(_LONGEST_END)
    except FileNotFoundError:
        raise DataError(f"{path} is missing; {mend(path.parent)}") from None
    if len(header) + len(rest) < 2 * BLOCK or len(rest) == _LONGEST_END or any(rest):
        raise damaged(path, f"after member {last} it is damaged or cut off: a tar ends in two empty blocks")
    _check_digest(path, index)
    return index


def _member(path: Path, header: bytes, last: str) -> tarfile.TarInfo:
    """A header that is what it must be. Headers are read one by one: tarfile would take a damaged one for the end,
    and would load an extended one (PAX, GNU) of any size into memory.
    """
    try:
        member = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        raise damaged(path, f"the header after member {last} is damaged or cut off ({error})") from None
    if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.size < 0:
        raise damaged(path, f"member {member.name!r} is not a plain file of a plain (ustar) tar")
    if member.size > LARGEST_MEMBER:
        raise damaged(path, f"member {member.name!r} has {member.size} bytes; the limit is {LARGEST_MEMBER}")
    match = _MEMBER.fullmatch(member.name)
    if match is None:
        raise damaged(path, f"member {member.name!r} is not named <key>.<extension>")
    if match[2] not in _EXTENSIONS:
        raise damaged(path, f"member {member.name!r} has none of the extensions {', '.join(sorted(_EXTENSIONS))}")
    return member


def _check_digest(path: Path, index: dict[str, tuple[int, int]]) -> None:
    """Compare a shard with the digest that was recorded when it was written, where there is one."""
    digests = read_digests(path.parent)
    if digests is None:
        return
    if path.name not in digests:
        raise damaged(path, f"{SUMMARY} does not list it")
    if sha256_file(path) != digests[path.name]:
        raise damaged(path, f"{_first_damage(path, index)}its digest is not the one in {SUMMARY}")


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


def damaged(path: Path, what: str) -> DataError:
    """What is wrong with a tar, and how to get it back."""
    return DataError(f"{path}: {what}; {mend(path.parent)}")

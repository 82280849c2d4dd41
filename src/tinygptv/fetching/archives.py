"""Archives of others, unpacked member by member: what leads out, hides something or grows without end is refused.

Every member is looked at, and the refusal names the first one that may not be; those that are asked for are written
into a new folder beside their place, and take it when all are there.
"""

from __future__ import annotations

import os
import shutil
import stat
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO

from tinygptv.data.own_tars import BoundedHeader
from tinygptv.ground.errors import DataError, brief
from tinygptv.ground.files import needing, require_room, sync_path
from tinygptv.ground.progress import Progress

MOST_MEMBERS = 500_000
LARGEST_LIST = 32 << 20
"""Bytes of a zip's list of members, which is read as a whole."""
MOST_GROWTH, GROWTH_FREE = 100, 64 << 20
"""Times its own size that an archive may grow to, beyond the first bytes: JSON shrinks to a twentieth, bombs more."""
LONGEST_NAME, LONGEST_PART = 1024, 200
_CHUNK = 1 << 20
_END, _END_SIZE, _END_64, _LOCATOR = b"PK\x05\x06", 22, b"PK\x06\x06", b"PK\x06\x07"
_ENCRYPTED = 1
_DAMAGE = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, struct.error),
    *(ValueError, OverflowError, RecursionError, NotImplementedError, RuntimeError),
)
"""What the readers of the standard library raise over a damaged archive."""


@dataclass(frozen=True, slots=True)
class ArchiveMember:
    """A member, with what it says of itself."""

    name: str
    size: int
    content: IO[bytes] | None
    """None of a folder."""


class _RefusedMemberError(Exception):
    """A member that may not be."""


def unpack(archive: Path, wanted: Mapping[str, Path]) -> int:
    """Put members of an archive in their places; what was there of the same name is replaced, all else stays.

    Args:
        archive: a zip or a tar, also one that gzip packed.
        wanted: beginning of members' names, ended by a slash → folder; or the last part of one member's name → file.

    Returns:
        How many files were written.

    Raises:
        DataError: the archive is damaged or hostile, or lacks something; names the member. Nothing was put anywhere.
        NoSpaceError: it has no room.
    """
    staging = {name: place.with_name(f".{place.name}.unpacking") for name, place in wanted.items()}
    for folder in staging.values():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    try:
        written = _write(archive, staging)
        for name, folder in staging.items():
            _put(folder, wanted[name], folder=name.endswith("/"))
            sync_path(wanted[name].parent)
    finally:
        for folder in staging.values():
            shutil.rmtree(folder, ignore_errors=True)
    return written


def unpacked_size(archive: Path, wanted: Iterable[str]) -> int | None:
    """Bytes of the wanted members, as a zip tells them, or of a whole tar; None where only reading it would tell."""
    if zipfile.is_zipfile(archive):
        with _refusing(archive), _open_zip(archive) as file:
            listed = [(PurePosixPath(info.filename).parts, info.file_size) for info in file.infolist()]
        return sum(size for parts, size in listed if parts and any(_asks(rule, parts) for rule in wanted))
    return None if archive.name.lower().endswith((".gz", ".tgz")) else archive.stat().st_size


def _write(archive: Path, staging: Mapping[str, Path]) -> int:
    size, seen, found = archive.stat().st_size, set[bytes](), dict.fromkeys(staging, 0)
    left = GROWTH_FREE + MOST_GROWTH * size
    with _refusing(archive), Progress(f"{archive.name} (members)", None, unit="member") as bar:
        for count, member in enumerate(_members(archive), start=1):
            with _naming(member.name):
                parts = _checked(member.name)
                if count > MOST_MEMBERS:
                    raise _RefusedMemberError(f"the archive has more than {MOST_MEMBERS:,}")
                if member.content is None:
                    continue
                if (key := _key(parts)) in seen:
                    raise _RefusedMemberError("it is there twice")
                seen.add(key)
                left -= member.size
                if left < 0:
                    raise _RefusedMemberError(f"the archive of {size:,} bytes grows beyond {MOST_GROWTH} times that")
                rule = next((rule for rule in staging if _asks(rule, parts)), None)
                if rule is not None:
                    found[rule] += 1
                    if not rule.endswith("/") and found[rule] > 1:
                        raise _RefusedMemberError(f"it is a second {rule}")
                    inner = parts[len(PurePosixPath(rule).parts) :] if rule.endswith("/") else parts[-1:]
                    _copy(member, staging[rule].joinpath(*inner))
            bar.update(count)
    for rule, number in found.items():
        if not number:
            raise DataError(f"{archive} has no {rule}; it is another archive than the one of that address")
    return sum(found.values())


def _members(archive: Path) -> Iterator[ArchiveMember]:
    """The members in their order, each open while it is looked at."""
    with archive.open("rb") as file:
        begins = file.read(4)
    if begins[:2] == b"PK":
        with _open_zip(archive) as packed:
            for info in packed.infolist():
                kind = stat.S_IFMT(info.external_attr >> 16)
                with _naming(info.filename):
                    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                        raise _RefusedMemberError("it is a link or a device")
                    if info.flag_bits & _ENCRYPTED:
                        raise _RefusedMemberError("it is encrypted")
                    if info.is_dir():
                        yield ArchiveMember(info.filename, 0, None)
                        continue
                    with packed.open(info) as content:
                        yield ArchiveMember(info.filename, info.file_size, content)
        return
    with tarfile.open(archive, "r|*", tarinfo=BoundedHeader) as tar:
        while (header := tar.next()) is not None:
            tar.members.clear()  # type: ignore[attr-defined]  # it would keep all of them
            with _naming(header.name):
                if header.isdir():
                    yield ArchiveMember(header.name, 0, None)
                elif not header.isreg() or header.issparse():
                    raise _RefusedMemberError("it is a link or a device")
                else:
                    yield ArchiveMember(header.name, header.size, tar.extractfile(header))


def _open_zip(archive: Path) -> zipfile.ZipFile:
    """A zip whose list of members is not too long to be read."""
    with archive.open("rb") as file:
        count, size = _listed(file)
    if count > MOST_MEMBERS or size > LARGEST_LIST:
        raise _RefusedMemberError(
            f"its list has {count:,} members and {size:,} bytes; {MOST_MEMBERS:,} and {LARGEST_LIST:,} may be"
        )
    return zipfile.ZipFile(archive)


def _listed(file: BinaryIO) -> tuple[int, int]:
    """Members of a zip, and bytes of their list, as its end says (APPNOTE.TXT 4.3.14 to 4.3.16)."""
    length = file.seek(0, os.SEEK_END)
    start = file.seek(max(0, length - _END_SIZE - 0xFFFF))
    tail = file.read()
    if (at := tail.rfind(_END)) < 0 or len(tail) - at < _END_SIZE:
        raise zipfile.BadZipFile("its end is missing")
    count, size = struct.unpack_from("<HL", tail, at + 10)
    locator = start + at - 20
    if locator >= 0:
        file.seek(locator)
        if file.read(4) == _LOCATOR:
            file.seek(struct.unpack("<4xQ", file.read(12))[0])
            if (record := file.read(56))[:4] == _END_64 and len(record) == 56:
                count, size = struct.unpack_from("<QQ", record, 32)
    return count, size


def _checked(name: str) -> tuple[str, ...]:
    """The parts of a member's name.

    Raises:
        _RefusedMemberError: it leads out of the folder, or is no name that every disk takes.
    """
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or "\\" in name or ":" in parts[0]:
        raise _RefusedMemberError("its name is no relative path")
    if ".." in name.split("/"):
        raise _RefusedMemberError("its name leads out of the folder")
    if len(name) > LONGEST_NAME or any(len(part.encode(errors="replace")) > LONGEST_PART for part in parts):
        raise _RefusedMemberError("its name is too long")
    if any(unicodedata.category(character).startswith("C") for character in name):
        raise _RefusedMemberError("its name has control characters")
    return parts


def _key(parts: tuple[str, ...]) -> bytes:
    """What two names have in common that some disk takes for one."""
    return unicodedata.normalize("NFC", "/".join(parts)).casefold().encode()


def _asks(rule: str, parts: tuple[str, ...]) -> bool:
    asked = PurePosixPath(rule).parts
    if rule.endswith("/"):
        return len(parts) > len(asked) and parts[: len(asked)] == asked
    return parts[-1] == rule and parts[0] != "__MACOSX"


def _copy(member: ArchiveMember, path: Path) -> None:
    assert member.content is not None, "it is no folder"
    path.parent.mkdir(parents=True, exist_ok=True)
    require_room(path.parent, member.size)
    written = 0
    with needing(path, member.size), path.open("xb") as file:
        while chunk := member.content.read(_CHUNK):
            written += len(chunk)
            file.write(chunk)
    if written != member.size:
        raise _RefusedMemberError(f"it says that it has {member.size:,} bytes, and has {written:,}")


def _put(staged: Path, place: Path, *, folder: bool) -> None:
    """Move what was unpacked to where it belongs: at once where nothing is there, else file by file."""
    os.sync()  # what has a name now survives a power cut
    if folder and not place.exists():
        staged.rename(place)
        return
    for path in sorted(path for path in staged.rglob("*") if path.is_file()):
        target = place / path.relative_to(staged) if folder else place
        target.parent.mkdir(parents=True, exist_ok=True)
        path.replace(target)


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Errors about a member name it."""
    try:
        yield
    except (FileExistsError, NotADirectoryError, IsADirectoryError):
        raise DataError(f"member {name[:LONGEST_PART]!r}: another one has its name, or that of its folder") from None
    except (_RefusedMemberError, *_DAMAGE) as error:
        raise DataError(f"member {name[:LONGEST_PART]!r}: {brief(error)}") from None


@contextmanager
def _refusing(archive: Path) -> Iterator[None]:
    """What is wrong with an archive, in one line."""
    try:
        yield
    except (DataError, _RefusedMemberError) as error:
        raise DataError(f"{archive}: {error}; nothing of it was taken") from None
    except _DAMAGE as error:
        raise DataError(f"{archive} is damaged or no archive ({brief(error)}); get it again") from None

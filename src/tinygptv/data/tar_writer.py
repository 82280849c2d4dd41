"""Tars in which names and contents decide every byte: no dates, no owners."""

from __future__ import annotations

import hashlib
import tarfile
from typing import BinaryIO

from tinygptv.data.tar_index import BLOCK

_MODE = 0o444


class TarWriter:
    """Writes members to an open file, each without a second copy of it, and adds up the tar's SHA-256."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = 0
        self._digest = hashlib.sha256()

    def add(self, name: str, content: bytes) -> int:
        """Write a member; where in the tar its content begins."""
        member = tarfile.TarInfo(name)
        member.size, member.mode = len(content), _MODE
        self._write(member.tobuf(tarfile.USTAR_FORMAT))
        offset = self._size
        self._write(content)
        self._write(bytes(-len(content) % BLOCK))
        return offset

    def end(self) -> str:
        """Write what a tar ends in; the tar's SHA-256."""
        self._write(bytes(2 * BLOCK))
        self._write(bytes(-self._size % tarfile.RECORDSIZE))
        return self._digest.hexdigest()

    def _write(self, content: bytes) -> None:
        self._file.write(content)
        self._digest.update(content)
        self._size += len(content)

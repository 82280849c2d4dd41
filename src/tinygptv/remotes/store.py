"""What every store of files offers: which files there are, and the bytes of one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

from tinygptv.ground.errors import DataError


class NothingThereError(DataError):
    """An address under which there is nothing."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file at an address."""

    path: str
    """From the address on; empty: the address is the file."""
    size: int
    state: str
    """Another one once the file has other content: an ETag, a digest, dates."""
    digest: str
    """``md5:``, ``sha256:`` or ``git:`` and hexadecimal digits, as the store says it; empty where it says none."""


class FileStore(ABC):
    """Where files lie. Reading is safe from several threads."""

    fixed: bool
    """Whether nothing at an address ever changes."""

    @abstractmethod
    def files(self, path: str) -> Iterator[RemoteFile]:
        """The file at a path, or those below it.

        Raises:
            DataError: nothing is there, or the store refuses.
            PassingError: it cannot be reached just now.
        """

    @abstractmethod
    def read(self, path: str, start: int, stop: int) -> bytes:
        """Bytes of a file.

        Raises:
            DataError: it is gone, or the store refuses.
            PassingError: it cannot be reached just now, or the answer ends early.
        """

    @abstractmethod
    def state(self, path: str) -> str:
        """The state of a file now, as in its ``RemoteFile``.

        Raises:
            DataError: it is gone, or the store refuses.
            PassingError: it cannot be reached just now.
        """

    def disagrees(self, path: str, file: RemoteFile) -> str:
        """Why a file that was read whole and has another digest is not what the store has; empty: it may well be.

        Args:
            path: of the file.
            file: what was listed.
        """
        return f"its content has not the {file.digest.partition(':')[0]} that is announced"

"""The errors that a user can cause and mend. Commands print them as one line and exit with ``EXIT_USER_ERROR``."""

from __future__ import annotations

import errno
import os
import re
import sys
from pathlib import Path

from tinygptv.addresses import without_secrets

EXIT_USER_ERROR = 2
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class UserError(Exception):
    """Something a user can mend; the message is one line that names the thing and the fix."""

    def __str__(self) -> str:
        return one_line(super().__str__())


class ConfigError(UserError):
    """A configuration key is unknown, missing, of the wrong type or contradicts another."""


class DataError(UserError):
    """A file, shard, record or image is missing, damaged or of the wrong form."""


class CheckpointError(UserError):
    """Weights do not fit: other stage, other parent, other tokenizer, missing or unknown tensors."""


class BusyError(UserError):
    """The same step runs already."""


def one_line(text: str) -> str:
    """A text for a terminal or a record: without secrets of addresses, control characters as Python writes them."""
    return _CONTROL.sub(lambda found: repr(found[0])[1:-1], without_secrets(text))


def brief(problem: object, longest: int = 200) -> str:
    """What a library says, in one line that is not too long; secrets go before the cut, which would hide them."""
    return one_line(" ".join(str(problem).split()))[:longest]


def complain(who: str, problem: object) -> None:
    """Print a problem as one line on stderr, after the name of the program or step."""
    print(f"{who}: {one_line(str(problem))}", file=sys.stderr)


class NoSpaceError(OSError):
    """A disk is full; ``needed`` bytes were to be written to ``filename``."""

    def __init__(self, path: Path, needed: int) -> None:
        super().__init__(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        self.needed = needed


def from_write_error(error: Exception, doing: str) -> UserError:
    """Turn a failed file operation into a line; safetensors hides the system's error in its text."""
    found = system_error(error)
    return UserError(f"{doing}: {error}; repeat the step") if found is None else from_os_error(found, doing)


def system_error(error: Exception) -> OSError | None:
    """The system's error in a failed file operation: itself, or the one that safetensors hides in its text."""
    if isinstance(error, OSError):
        return error
    found = re.search(r"\(os error (\d+)\)", str(error))
    return OSError(int(found[1]), os.strerror(int(found[1]))) if found is not None else None


def from_os_error(error: OSError, doing: str) -> UserError:
    """Turn a failed file operation into a line that names the path and the fix."""
    where = error.filename if error.filename is not None else "the output folder"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        sizes = ""
        if isinstance(error, NoSpaceError):
            sizes = f": {error.needed:,} bytes are needed, {free_bytes(where):,} are free"
        return UserError(f"{doing}: no space left on the disk of {where}{sizes}; free some and run the command again")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return UserError(f"{doing}: no permission to write {where}; make it writable for this user")
    if error.errno == errno.EFBIG:
        return UserError(f"{doing}: a file of {where} would pass this user's size limit; raise it (`ulimit -f`)")
    if error.errno == errno.ENOENT:
        return UserError(f"{doing}: {where} does not exist; run the step that makes it, or check the path")
    return UserError(f"{doing}: {error.strerror or error} ({Path(str(where))})")


def free_bytes(path: str | Path) -> int:
    """Bytes that a user may still write on the disk of a path, which need not exist."""
    place = Path(path).absolute()
    found = os.statvfs(next(folder for folder in (place, *place.parents) if folder.exists()))
    return found.f_bavail * found.f_frsize

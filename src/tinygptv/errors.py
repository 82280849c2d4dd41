"""The errors that a user can cause and mend. Commands print them as one line and exit with ``EXIT_USER_ERROR``."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

EXIT_USER_ERROR = 2


class UserError(Exception):
    """Something a user can mend; the message is one line that names the thing and the fix."""


class ConfigError(UserError):
    """A configuration key is unknown, missing, of the wrong type or contradicts another."""


class DataError(UserError):
    """A file, shard, record or image is missing, damaged or of the wrong form."""


class CheckpointError(UserError):
    """Weights do not fit: other stage, other parent, other tokenizer, missing or unknown tensors."""


class BusyError(UserError):
    """The same step runs already."""


def from_write_error(error: Exception, doing: str) -> UserError:
    """Turn a failed file operation into a line; safetensors hides the system's error in its text."""
    found = re.search(r"\(os error (\d+)\)", str(error))
    if isinstance(error, OSError):
        return from_os_error(error, doing)
    if found is None:
        return UserError(f"{doing}: {error}; repeat the step")
    return from_os_error(OSError(int(found[1]), os.strerror(int(found[1]))), doing)


def from_os_error(error: OSError, doing: str) -> UserError:
    """Turn a failed file operation into a line that names the path and the fix."""
    where = error.filename if error.filename is not None else "the output folder"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return UserError(f"{doing}: no space left on the disk of {where}; free some and run the command again")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return UserError(f"{doing}: no permission to write {where}; make it writable for this user")
    if error.errno == errno.EFBIG:
        return UserError(f"{doing}: a file of {where} would pass this user's size limit; raise it (`ulimit -f`)")
    if error.errno == errno.ENOENT:
        return UserError(f"{doing}: {where} does not exist; run the step that makes it, or check the path")
    return UserError(f"{doing}: {error.strerror or error} ({Path(str(where))})")

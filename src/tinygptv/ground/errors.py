"""The errors that a user can mend, or wait for: commands print them as one line and end with the error's exit code.

Which faults pass by themselves is decided here, from what the system and the servers say; the flow tries those again.
"""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path

from tinygptv.ground.addresses import without_secrets

EXIT_USER_ERROR = 2
EXIT_SOFTWARE = 70
"""``EX_SOFTWARE`` of sysexits.h: how a part of a step tells, in a process of its own, that a model has no answer."""
EXIT_MACHINE = 74
"""``EX_IOERR`` of sysexits.h: how our own reader of pickles tells that the file is not to blame."""
EXIT_PASSING = 75
"""``EX_TEMPFAIL`` of sysexits.h."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""What moves a cursor, ends a line, reorders text, or is half a character."""
PASSING = frozenset(
    getattr(errno, name)
    for name in (
        *("ECONNREFUSED", "ECONNRESET", "ECONNABORTED", "EPIPE", "ENOTCONN", "ESHUTDOWN", "ETIMEDOUT"),
        *("ENETDOWN", "ENETUNREACH", "ENETRESET", "EHOSTDOWN", "EHOSTUNREACH", "ENOBUFS"),
        *("EIO", "ESTALE", "EREMOTEIO", "ENOLCK", "EBUSY", "EAGAIN", "EINTR", "ENFILE"),
    )
    if hasattr(errno, name)
)
"""The system's errors that another moment may not have: of a network, of a disk behind one, of the whole machine."""
CUT_OFF = frozenset({"IncompleteRead", "RemoteProtocolError"})
"""Errors of HTTP's libraries for an answer that ends early; they have no type in common."""


class UserError(Exception):
    """Something a user can mend; the message is one line that names the thing and the fix."""

    exit_code = EXIT_USER_ERROR

    def __str__(self) -> str:
        return one_line(super().__str__())


class PassingError(UserError):
    """A fault that may be gone the next time: a server that is down, a network disk that does not answer.

    The same command may succeed later though nobody changes anything, so that trying again by itself makes sense.
    """

    exit_code = EXIT_PASSING


class LostProcessError(PassingError):
    """A process that shares the step was killed, or its machine has gone: the attempt counts as killed."""


class ConfigError(UserError):
    """A configuration key is unknown, missing, of the wrong type or contradicts another."""


class DataError(UserError):
    """A file, shard, record or image is missing, damaged or of the wrong form."""


class CheckpointError(UserError):
    """Weights do not fit: other stage, other parent, other tokenizer, missing or unknown tensors."""


class NotFiniteError(UserError):
    """A model computes infinities or NaN: it has no answer. Its weights are to blame, not the command."""

    exit_code = 1


class RefusedError(UserError):
    """The system or a server does not let it: no space, no permission, a limit, no access. Nothing need be missing."""


class BusyError(UserError):
    """The same step runs already. It may do so for hours, so this is not taken for a passing fault."""


def plain(error: UserError) -> UserError:
    """The same for whoever reads it, of a class of this module: what another process can be sent."""
    kind = next(kind for kind in type(error).__mro__ if kind.__module__ == __name__)
    return kind(str(error))


def one_line(text: str) -> str:
    """A text for a terminal or a record: without secrets of addresses, controls as Python writes them."""
    return _CONTROL.sub(lambda found: repr(found[0])[1:-1], without_secrets(text))


def brief(problem: object, longest: int = 200) -> str:
    """What a library says, in one line that is not too long; secrets go before the cut, which would hide them."""
    return one_line(" ".join(str(problem).split()))[:longest] or type(problem).__name__


def complain(who: str, problem: object) -> None:
    """Print a problem as one line on stderr, after the name of the program or step."""
    print(f"{who}: {one_line(str(problem))}", file=sys.stderr)


def meant(word: str, known: Iterable[str]) -> str:
    """A guess at what somebody meant, for the end of a message; empty where nothing is close."""
    close = get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


class NoSpaceError(OSError):
    """A disk is full; ``needed`` bytes were to be written to ``filename``, or as many as only its writer knows."""

    def __init__(self, path: Path, needed: int | None = None) -> None:
        super().__init__(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        self.needed = needed


def from_write_error(error: Exception, doing: str) -> UserError:
    """Turn a failed file operation into a line; libraries hide the system's error behind or in their own."""
    return true_cause(error, doing) or UserError(f"{doing}: {brief(error)}; repeat the step")


def true_cause(error: BaseException, doing: str) -> UserError | None:
    """What the system or a server said, where an error has that behind it; None where it is the library's own."""
    found = system_error(error)
    if found is not None:
        return from_os_error(found, doing)
    return PassingError(f"{doing}: {brief(error)}; run the command again later") if passes(error) else None


def system_error(error: BaseException) -> OSError | None:
    """The system's error in a failed operation: itself, the one behind it, or the one that its text holds."""
    for found in chain(error):
        if isinstance(found, UserError) or _http_status(found) is not None or _of_ssl(found):
            return None  # said by somebody else, whatever happened before
        if isinstance(found, OSError) and found.errno is not None and found.errno > 0:
            return found
    # safetensors tells in its text what the system said, MLflow what its threads met
    told = re.search(r"\(os error (\d+)\)|\[Errno (\d+)\][^:\n]*(?:: '([^'\n]+)')?", str(error))
    if told is None:
        return None
    number = int(told[1] or told[2])
    return OSError(number, os.strerror(number), told[3])


def passes(error: BaseException) -> bool | None:
    """Whether a fault may be gone the next time; None where nothing behind the error tells."""
    from socket import gaierror

    for found in chain(error):
        if isinstance(found, UserError):
            return isinstance(found, PassingError)
        status = _http_status(found)
        if status is not None:
            return status_passes(status)
        if _of_ssl(found):
            return type(found).__name__ in ("SSLEOFError", "SSLZeroReturnError")  # the connection ended
        if isinstance(found, ConnectionError | TimeoutError | gaierror) or type(found).__name__ in CUT_OFF:
            return True
        if isinstance(found, OSError) and found.errno is not None:
            return found.errno in PASSING
    told = system_error(error)
    return told.errno in PASSING if told is not None else None


def status_passes(status: int) -> bool:
    """Whether a server that answers so may answer otherwise the next time: a fault of its own, or a matter of time."""
    return status >= 500 or status in (408, 425, 429)


def chain(error: BaseException) -> Iterator[BaseException]:
    """An error and those behind it: causes, and what libraries keep as ``reason``, ``orig`` or argument."""
    waiting, seen = [error], set[int]()
    while waiting:
        found = waiting.pop(0)
        if id(found) in seen:
            continue
        seen.add(id(found))
        yield found
        context = None if found.__suppress_context__ else found.__context__
        behind = (found.__cause__, context, getattr(found, "reason", None), getattr(found, "orig", None), *found.args)
        waiting.extend(one for one in behind if isinstance(one, BaseException))


def from_os_error(error: OSError, doing: str) -> UserError:
    """Turn a failed file operation into a line that names the path and the fix."""
    where = error.filename if error.filename is not None else "the output folder"
    said = error.strerror or brief(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        sizes = ""
        if isinstance(error, NoSpaceError):
            free = f"{free_bytes(where):,}"
            known = f"{error.needed:,} bytes are needed, {free} are free" if error.needed else ""
            sizes = f": {known or f'its {free} free bytes are too few'}"
        return RefusedError(
            f"{doing}: no space left on the disk of {where}{sizes}; free some and run the command again"
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        closed = Path(str(where)).exists() and not may(where, os.R_OK)
        what, able = ("read", "readable") if closed else ("write", "writable")
        return RefusedError(f"{doing}: no permission to {what} {where}; make it {able} for this user")
    if error.errno == errno.EFBIG:
        return RefusedError(f"{doing}: a file of {where} would pass this user's size limit; raise it (`ulimit -f`)")
    if error.errno == errno.EMFILE:
        return RefusedError(f"{doing}: this process may not open more files at once; raise the limit (`ulimit -n`)")
    if error.errno == errno.ENOENT:
        return UserError(f"{doing}: {where} does not exist; run the step that makes it, or check the path")
    named = where if error.filename is not None else f"{where}, or a file that was read"
    if passes(error):
        return PassingError(f"{doing}: {said} ({named}); run the command again when that disk or network is back")
    return RefusedError(f"{doing}: {said} ({named}); see what is wrong there, and run the command again")


def may(path: str | Path, mode: int) -> bool:
    """Whether this process may read (``os.R_OK``) or write (``os.W_OK``) a path, found without opening it."""
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)


def free_bytes(path: str | Path) -> int:
    """Bytes that a user may still write on the disk of a path, which need not exist."""
    place = Path(path).absolute()
    found = os.statvfs(next(folder for folder in (place, *place.parents) if folder.exists()))
    return found.f_bavail * found.f_frsize


def _http_status(error: BaseException) -> int | None:
    """The status of a server's answer in an error of requests, httpx, urllib or botocore."""
    answer = getattr(error, "response", None)
    if isinstance(answer, Mapping):
        answer = answer.get("ResponseMetadata", {}).get("HTTPStatusCode")
    else:
        answer = getattr(answer, "status_code", getattr(error, "code", None))
    return answer if isinstance(answer, int) and 400 <= answer < 600 else None


def _of_ssl(error: BaseException) -> bool:
    """Whether it is OpenSSL's own error, whose numbers are not the system's."""
    return any(kind.__name__ == "SSLError" and kind.__module__ == "ssl" for kind in type(error).__mro__)

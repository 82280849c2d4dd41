"""What lies behind an error of MLflow: a fault of this machine, one that passes by itself, or a refusal that stays.

MLflow hides the system's errors in its own, those of its threads in their text alone. What it guesses is not repeated.
"""

from __future__ import annotations

import errno
import os
import re
import sqlite3
from collections.abc import Mapping
from pathlib import Path

from tinygptv.ground.errors import (
    PassingError,
    RefusedError,
    UserError,
    brief,
    chain,
    from_os_error,
    may,
    passes,
    status_passes,
    system_error,
)

LOCKED, OF_THE_DISK = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED), (sqlite3.SQLITE_IOERR,)
FULL = sqlite3.SQLITE_FULL
STATUS = re.compile(r"too many (\d{3}) error|with error code (\d{3}) !=|\b(\d{3}) (?:Server|Client) Error")
"""How urllib3, MLflow and requests tell in words what a server answered."""
CUT = re.compile(r"timed? ?out|connection (aborted|broken|reset)|incomplete ?read|remote end closed", re.IGNORECASE)
GONE = re.compile(r"\bFATAL\b(?!.*(starting up|shutting down|recovery mode|too many))", re.DOTALL)
"""PostgreSQL answers and refuses, and not because it is just not ready."""
START = "start its server, or set MLFLOW_TRACKING_URI"
CREDENTIALS = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD to those of a user who may"


def kinds() -> tuple[type[Exception], ...]:
    """What a call of MLflow raises for its store's faults: its own errors, the database's, HTTP's."""
    from mlflow.exceptions import MlflowException
    from requests import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    return MlflowException, SQLAlchemyError, RequestException


def explain(error: Exception, doing: str, uri: str, fix: str) -> UserError:
    """One line for an error of MLflow.

    Args:
        error: one of ``kinds``.
        doing: what failed, for the beginning of the line.
        uri: the store.
        fix: what to do where the store itself is the trouble.

    Returns:
        A ``PassingError`` where the same may succeed later, else what has to be mended: here, or at the store.
    """
    database = _of_sqlite(error, doing, uri, fix)
    if database is not None:
        return database
    found = system_error(error)
    if found is not None and (found.filename is not None or not passes(found)):
        return from_os_error(found, doing)
    reason = brief(_root(error))
    if may_pass(error):
        return PassingError(f"{doing}: {reason}; {fix}")
    return RefusedError(f"{doing}: {reason}; {CREDENTIALS if _refuses_user(error) else fix}")


def of_version(error: Exception, source: str, uri: str) -> UserError:
    """One line for an error where a version of the registry was looked for; a plain ``UserError``: it is absent."""
    if absent(error):
        fix = "`make demo`, or `dvc repro -f -s register` with its package here, fills it"
        return UserError(f"{source} is not in {uri}: {brief(error)}; {fix}")
    return explain(error, f"reading {source} from {uri}", uri, START)


def absent(error: Exception) -> bool:
    """Whether MLflow says that what was asked for is not there, or no name for anything."""
    return getattr(error, "error_code", None) in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")


def may_pass(error: BaseException) -> bool:
    """Whether a fault of the store may be gone the next time."""
    told = passes(error)
    if told is not None:
        return told
    if (status := _status(error)) is not None:
        return status_passes(status)
    if any(type(found).__name__ == "OperationalError" and hasattr(found, "pgcode") for found in chain(error)):
        return GONE.search(str(error)) is None
    return CUT.search(str(error)) is not None


def _root(error: BaseException) -> BaseException:
    """The error of a socket behind those of HTTP's libraries, whose long words end with it; else the error itself."""
    own = ("builtins", "socket", "ssl", "http.client")
    return next(
        (found for found in chain(error) if isinstance(found, OSError) and type(found).__module__ in own), error
    )


def _status(error: BaseException) -> int | None:
    """The status of the server's answer, where the error's words or MLflow's code for it tell."""
    if told := STATUS.search(str(error)):
        return int(next(number for number in told.groups() if number))
    if type(error).__name__ == "RestException":  # the server's answer; other errors of MLflow have code 500 for nothing
        return int(error.get_http_status_code())  # type: ignore[attr-defined]
    return None


def _refuses_user(error: BaseException) -> bool:
    answers = [getattr(getattr(found, "response", None), "status_code", None) for found in chain(error)]
    codes = {getattr(found, "error_code", None) for found in chain(error)}
    return bool({401, 403} & {_status(error), *answers} or {"PERMISSION_DENIED", "UNAUTHENTICATED"} & codes)


def _of_sqlite(error: BaseException, doing: str, uri: str, fix: str) -> UserError | None:
    """The line for an error of SQLite, whose codes stand for the system's and do not name the file."""
    code = next((found.sqlite_errorcode & 0xFF for found in chain(error) if hasattr(found, "sqlite_errorcode")), None)
    if code is None:
        return None
    path = uri.partition(":///")[2]
    reason = brief(error)
    if code in LOCKED:
        return PassingError(f"{doing}: {reason}; another program writes to it, run the command again later")
    if code in OF_THE_DISK:
        return from_os_error(OSError(errno.EIO, os.strerror(errno.EIO), path), doing)
    if code == FULL:
        return from_os_error(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path), doing)
    # SQLite tells that it cannot open or write the file, and not why; its journal lies beside
    found = hindrance({Path(path): os.R_OK | os.W_OK, Path(path).parent: os.W_OK | os.X_OK})
    return from_os_error(found, doing) if found is not None else RefusedError(f"{doing}: {reason}; {fix}")


def require_readable(uri: str, doing: str) -> None:
    """Refuse a database that this process may not read: MLflow would try for minutes, and not say why.

    Raises:
        UserError: the system does not let it be read.
    """
    database = Path(uri.partition(":///")[2])
    if uri.startswith("sqlite:") and database.exists() and (found := hindrance({database: os.R_OK})) is not None:
        raise from_os_error(found, doing)


def hindrance(modes: Mapping[Path, int]) -> OSError | None:
    """Why this process may not do so with paths. They are not opened: closing a database would free the locks on it."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
        for path, mode in modes.items():
            path.stat()
            if not may(path, mode):
                return PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    except OSError as error:
        return error
    return None

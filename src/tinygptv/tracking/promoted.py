"""Which versions this project's own commands made champion, by digest: kept beside the database, not in it.

Whoever gets to write into the registry alone, by whatever way, still does not decide what ``tinygptv serve`` follows.
Only for a database in a file; a server that several checkouts share asks for a password.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tinygptv.ground.files import read_json, write_secret
from tinygptv.ground.folders import STATE
from tinygptv.tracking.client import SQLITE


def file_of(uri: str, name: str) -> Path | None:
    """Where the record of a model is; None where there is none."""
    if not uri.startswith(SQLITE):
        return None
    return Path(uri.removeprefix(SQLITE)).parent / STATE / "promoted" / f"{name}.json"


def read(uri: str, name: str) -> dict[str, str | None] | None:
    """The champion and the one before: version → SHA-256 of its package; None where no command has moved any yet.

    Args:
        uri: the store.
        name: the registered model.

    Raises:
        DataError: the file is damaged.
    """
    path = file_of(uri, name)
    return dict(read_json(path)) if path is not None and path.is_file() else None


def may_be(uri: str, name: str, version: str) -> bool:
    """Whether a version may be champion as far as is on record; where there is no record, any may."""
    return file_of(uri, name) is None or version in (read(uri, name) or {})


def write(uri: str, name: str, digests: Mapping[str, str | None]) -> None:
    """Keep which versions may be champion, for nobody else to write; as of ``read``."""
    path = file_of(uri, name)
    if path is not None:
        write_secret(path, dict(digests))

"""Addresses of files that do not lie on this machine, and where they lie on it once they are fetched.

``s3://BUCKET/PATH`` and ``remote://REMOTE/PATH`` are read as DVC reads them, with its remotes and credentials;
``hf://datasets/OWNER/NAME@REVISION/PATH`` is a data set of the hub at one commit. A place is the address itself as
folders below ``.state/raw`` of the main checkout, so that all profiles and worktrees share what was fetched.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from tinygptv.ground.folders import STATE
from tinygptv.ground.worktree import main_of

RAW = "raw"
FORMS = "s3://BUCKET/PATH, remote://REMOTE/PATH, hf://datasets/OWNER/NAME@REVISION/PATH"
COMMIT = re.compile(r"[0-9a-f]{40}")
_SCHEME = re.compile(r"([A-Za-z][\w+.-]*)://")
_STORE = {
    "s3": re.compile(r"(?P<store>\w[\w.-]*)(?:/(?P<path>.*))?"),
    "remote": re.compile(r"(?P<store>\w[\w.-]*)(?:/(?P<path>.*))?"),
    "hf": re.compile(r"(?P<store>datasets/\w[\w.-]*/\w[\w.-]*@[^/]+)(?:/(?P<path>.*))?"),
}
_MODEL = re.compile(r"hf://(?!datasets/)(?P<store>\w[\w.-]*/\w[\w.-]*(?:@(?P<revision>[^/@]+))?)")


class Address(NamedTuple):
    """An address."""

    scheme: str
    store: str
    """Bucket, remote, or ``datasets/OWNER/NAME@REVISION``."""
    path: str
    """Of a file or folder there; empty: all."""

    def hub_parts(self) -> tuple[str, str, str]:
        """Repository, revision and kind of what an address of the hub names."""
        kind, _, rest = self.store.partition("/")
        repository, _, revision = rest.partition("@")
        return repository, revision, kind.removesuffix("s")

    def __str__(self) -> str:
        store = self.store.removeprefix("models/") if self.scheme == "hf" else self.store
        return f"{self.scheme}://{store}{'/' if self.path else ''}{self.path}"


def is_address(name: str | Path) -> bool:
    """Whether a name is the address of something elsewhere, well formed or not."""
    return _SCHEME.match(str(name)) is not None


def parse(text: str) -> Address:
    """Take an address apart.

    Raises:
        ValueError: it is none, or names a part of the hub that changes.
    """
    scheme = text.partition("://")[0]
    if scheme not in _STORE:
        raise ValueError(f"{text}: what is read from elsewhere is {FORMS}; after `dvc remote add NAME URL` others, too")
    found = _STORE[scheme].fullmatch(text.removeprefix(f"{scheme}://"))
    if found is None and scheme == "hf" and re.match(r"hf://datasets/[\w.-]+/[\w.-]+(/|$)", text):
        raise ValueError(f"{text} names no revision; pin the commit: hf://datasets/OWNER/NAME@REVISION/PATH")
    if found is None:
        raise ValueError(f"{text} is no address; they are {FORMS}")
    address = Address(scheme, found["store"], (found["path"] or "").rstrip("/"))
    if scheme == "hf" and not COMMIT.fullmatch(revision := address.hub_parts()[1]):
        raise ValueError(
            f"{text}: {revision} may be another commit tomorrow; pin the 40 digits that the hub's page shows under "
            "Files, History"
        )
    if not is_below(address.path) and address.path:
        raise ValueError(f"{text} has an empty, a `.` or a `..` part; name the file or folder itself")
    return address


def parse_model(text: str) -> Address:
    """Take the address of a model of the hub apart, ``hf://OWNER/NAME@REVISION``.

    Raises:
        ValueError: it is none, or its revision changes.
    """
    found = _MODEL.fullmatch(text)
    if found is None or not COMMIT.fullmatch(found["revision"] or ""):
        raise ValueError(f"{text}: a model of the hub is hf://OWNER/NAME@REVISION, with the 40 digits of a commit")
    return Address("hf", f"models/{found['store']}", "")


def parse_target(text: str) -> Address:
    """Take the address of a place for a model apart.

    Raises:
        ValueError: it is none.
    """
    found = _MODEL.fullmatch(text)
    if found is not None and found["revision"] is None:
        return Address("hf", f"models/{found['store']}", "")
    if text.startswith(("s3://", "remote://")) and (address := parse(text)).path:
        return address
    raise ValueError(f"{text}: a place for a model is hf://OWNER/NAME, remote://REMOTE/PATH or s3://BUCKET/PATH")


def is_below(path: str) -> bool:
    """Whether a path, with slashes, leads from a folder to what is below it."""
    return "\0" not in path and all(part not in ("", ".", "..") for part in path.split("/"))


def raw_folder(root: Path) -> Path:
    """Where everything lies that was fetched.

    Args:
        root: the checkout, or a worktree of it.
    """
    return main_of(root) / STATE / RAW


def local_place(name: str, root: Path) -> Path:
    """Where an address lies on this machine, fetched or not.

    Raises:
        ValueError: as of ``parse``.
    """
    address = parse(name)
    return raw_folder(root) / address.scheme / address.store / address.path


def address_at(place: Path, root: Path) -> str | None:
    """The address of a file or folder that was fetched; None of any other."""
    raw = raw_folder(root)
    if not place.is_relative_to(raw):
        return None
    scheme, _, rest = place.relative_to(raw).as_posix().partition("/")
    return f"{scheme}://{rest}"

"""Buckets and DVC's remotes, opened as DVC opens them: with the settings and credentials of its configuration.

An ``s3://`` address takes those of the remote of ``.dvc/config`` that lies in the same bucket, nearest to it; where
none does, those of the environment and of ``~/.aws``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tinygptv.ground.errors import DataError, PassingError, UserError, brief, chain, passes
from tinygptv.ground.worktree import main_of
from tinygptv.remotes.places import Address
from tinygptv.remotes.store import FileStore, NothingThereError, RemoteFile

_STATES = ("ETag", "etag", "md5", "md5Hash", "content_md5", "checksum", "mtime", "LastModified", "updated", "modified")
"""What file systems of fsspec call that by which one content is told from the next."""
_MD5 = re.compile(r"[0-9a-f]{32}")


class DvcStore(FileStore):
    """A bucket or a remote."""

    fixed = False

    def __init__(self, address: Address, root: Path) -> None:
        """Open it; nothing is asked yet.

        Raises:
            UserError: there is no such remote, or a package is missing.
        """
        from dvc.config import Config
        from dvc.fs import get_cloud_fs

        self._address = address
        with dvc_errors(address):
            config = Config(str(main_of(root) / ".dvc"))
            named = {"name": address.store} if address.scheme == "remote" else _settings_for(config["remote"], address)
            kind, settings, base = get_cloud_fs(config, **named)
            self._system = kind(**settings)
        self._base = base.rstrip("/") if address.scheme == "remote" else address.store
        self._of_s3 = kind.protocol == "s3"
        self._listable = bool(kind.CAN_TRAVERSE)

    def at(self, path: str) -> str:
        """A path as the file system has it."""
        return f"{self._base}/{path}" if path else self._base

    def files(self, path: str) -> Iterator[RemoteFile]:
        """The file at a path, or those below it; hidden ones are no data."""
        with dvc_errors(self._address):
            yield from self._objects(path) if self._of_s3 else self._walked(path)

    def read(self, path: str, start: int, stop: int) -> bytes:
        """Bytes of a file."""
        with dvc_errors(self._address):
            return bytes(self._system.cat_file(self.at(path), start=start, end=stop))

    def put(self, source: Path, path: str) -> None:
        """Write a file, whole or not at all."""
        with dvc_errors(self._address):
            self._system.put_file(str(source), self.at(path))

    def remove(self, path: str) -> None:
        """Remove a file."""
        with dvc_errors(self._address):
            self._system.rm_file(self.at(path))

    def state(self, path: str) -> str:
        """The state of one file now."""
        with dvc_errors(self._address):
            if self._of_s3:
                return str(self._head(path)["ETag"]).strip('"')
            return _state(self._system.info(self.at(path)))

    def disagrees(self, path: str, file: RemoteFile) -> str:
        """As of ``FileStore``; the ETag of what a server encrypted with a key of its own is no MD5."""
        if self._of_s3:
            with dvc_errors(self._address):
                told = self._head(path)
            if told.get("ServerSideEncryption", "AES256") != "AES256" or "SSECustomerAlgorithm" in told:
                return ""
        return super().disagrees(path, file)

    def _head(self, path: str) -> Mapping[str, Any]:
        bucket, key = self._of_bucket(path)
        told: Mapping[str, Any] = self._system.fs.call_s3("head_object", Bucket=bucket, Key=key)
        return told

    def _of_bucket(self, path: str) -> tuple[str, str]:
        bucket, _, key = self.at(path).lstrip("/").partition("/")
        return bucket, key

    def _objects(self, path: str) -> Iterator[RemoteFile]:
        """The objects of a bucket, a page at a time: s3fs itself would hold all of them."""
        bucket, key = self._of_bucket(path)
        first = next(self._pages(bucket, key, 1), None) if key else None
        if first is not None and first["Key"] == key:
            yield _object("", first)
            return
        prefix = f"{key}/" if key else ""
        for found in self._pages(bucket, prefix, 1000):
            name = found["Key"].removeprefix(prefix)
            if not name.endswith("/"):  # how consoles note an empty folder
                yield _object(name, found)

    def _pages(self, bucket: str, prefix: str, size: int) -> Iterator[dict[str, Any]]:
        more: dict[str, str] = {}
        while True:
            page = self._system.fs.call_s3("list_objects_v2", Bucket=bucket, Prefix=prefix, MaxKeys=size, **more)
            yield from page.get("Contents", ())
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def _walked(self, path: str) -> Iterator[RemoteFile]:
        """The files of another file system, a folder at a time."""
        found = self._system.info(self.at(path))
        if found["type"] != "directory":
            yield _file("", found)
        elif self._listable:
            yield from self._below(self.at(path), "")
        else:
            raise DataError(f"{self._address} cannot be listed; name each file in `files`, or pack them in a tar")

    def _below(self, folder: str, above: str) -> Iterator[RemoteFile]:
        for entry in self._system.ls(folder, detail=True):
            name = entry["name"].rstrip("/").rpartition("/")[2]
            if entry.get("islink"):
                target = Path(entry["name"]).resolve()
                if not target.exists() or Path(folder).resolve().is_relative_to(target):
                    continue  # to nothing, or to a folder that it lies in
                entry = {**self._system.info(str(target)), "name": entry["name"]}
            if entry["type"] == "directory":
                yield from self._below(entry["name"], f"{above}{name}/")
            elif entry["type"] == "file":
                yield _file(f"{above}{name}", entry)


def _settings_for(remotes: Mapping[str, Mapping[str, Any]], address: Address) -> dict[str, Any]:
    """The settings of the remote in the same bucket whose path has most in common with an address."""
    near: tuple[int, Mapping[str, Any]] = (-1, {})
    for settings in remotes.values():
        bucket, _, path = str(settings.get("url", "")).removeprefix("s3://").rstrip("/").partition("/")
        if str(settings.get("url", "")).startswith("s3://") and bucket == address.store:
            common = len(path) if f"{address.path}/".startswith(f"{path}/") else 0
            near = max(near, (common, settings), key=lambda one: one[0])
    return {**near[1], "url": f"s3://{address.store}"}


def _object(name: str, found: Mapping[str, Any]) -> RemoteFile:
    tag = str(found["ETag"]).strip('"')
    return RemoteFile(name, int(found["Size"]), tag, f"md5:{tag}" if _MD5.fullmatch(tag) else "")


def _file(name: str, found: Mapping[str, Any]) -> RemoteFile:
    if found.get("size") is None:
        raise DataError(f"{found['name']}: its server does not say how large it is; get it yourself")
    return RemoteFile(name, int(found["size"]), _state(found), "")


def _state(found: Mapping[str, Any]) -> str:
    return " ".join(str(found[key]).strip('"') for key in ("size", *_STATES) if found.get(key) is not None)


@contextmanager
def dvc_errors(address: Address) -> Iterator[None]:
    """Turn the errors of DVC and of its file systems into one line.

    Raises:
        DataError: there is no such remote, bucket, file or permission.
        PassingError: it cannot be reached just now.
        UserError: a package is missing, or DVC refuses its configuration.
    """
    from dvc.config import ConfigError, RemoteNotFoundError
    from dvc.fs import AuthError, RemoteMissingDepsError

    try:
        yield
    except (UserError, GeneratorExit):
        raise
    except RemoteNotFoundError:
        raise DataError(
            f"{address}: .dvc/config names no remote {address.store}; `dvc remote add {address.store} URL` does"
        ) from None
    except (ImportError, RemoteMissingDepsError) as error:
        fix = "pip install -c constraints.txt -e '.[s3]'" if address.scheme == "s3" else "pip install it"
        raise UserError(f"{address}: {brief(error)}; {fix}") from None
    except ConfigError as error:
        raise UserError(f"{address}: {brief(error)}; correct .dvc/config") from None
    except Exception as error:
        kinds = {type(one).__name__ for one in chain(error)}
        log_in = "docs/remotes.md says where credentials go"
        if kinds & {"NoCredentialsError", "PartialCredentialsError", "ProfileNotFound", "TokenRetrievalError"}:
            raise DataError(f"{address}: no credentials ({brief(error)}); {log_in}") from None
        if isinstance(error, PermissionError | AuthError):
            raise DataError(f"{address}: refused ({brief(error)}); check the credentials: {log_in}") from None
        if isinstance(error, FileNotFoundError):
            what = f"there is no bucket {address.store}" if "bucket" in str(error) else "nothing is there"
            raise NothingThereError(f"{address}: {what}; check its name") from None
        if passes(error) or kinds & {"EndpointConnectionError", "ConnectTimeoutError", "ReadTimeoutError"}:
            raise PassingError(f"{address} cannot be reached ({brief(error)}); try again later") from None
        raise DataError(f"{address}: {brief(error)}; check the address and the remote's settings") from None

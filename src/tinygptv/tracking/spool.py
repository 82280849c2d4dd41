"""A step's record on disk: one JSON line an event, written before anything is sent anywhere.

The first line, the header, says which run the events belong to, so that a spool alone is enough to create and fill
the run later, on a day when MLflow answers. A kill or a full disk may tear a line; such a line is skipped.

The writer holds the file's lock while it lives. A spool whose lock is free belongs to nobody and may be shipped.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

Kind = Literal["metric", "param", "tag", "artifact", "dataset", "status"]
Event = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """Which run the events belong to."""

    spool: str
    """Unique; a tag of the run, by which a second shipment finds it."""
    step: str
    profile: str
    pipeline: str | None
    """The pipeline's id, if a flow runs the step: its run is the parent."""
    flow_run: str | None
    """Prefect's id of the flow run."""
    git_sha: str
    started: int
    """Milliseconds since 1970, as MLflow counts."""


class Spool:
    """The writer's side."""

    def __init__(self, path: Path, handle: int, header: Header) -> None:
        self.path = path
        self.header = header
        self._handle = handle
        self._events = 0
        self._torn = False

    @classmethod
    def create(
        cls, folder: Path, *, step: str, profile: str, pipeline: str | None, flow_run: str | None, git_sha: str
    ) -> Spool:
        """Begin a new spool in a folder; it appears there locked and with its header."""
        folder.mkdir(parents=True, exist_ok=True)
        header = Header(
            spool=uuid.uuid4().hex,
            step=step,
            profile=profile,
            pipeline=pipeline,
            flow_run=flow_run,
            git_sha=git_sha,
            started=now(),
        )
        path = folder / f"{step}-{header.spool}.jsonl"
        hidden = path.with_suffix(".tmp")
        handle = os.open(hidden, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o644)
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        spool = cls(path, handle, header)
        spool._write({"kind": "header", **asdict(header)})
        hidden.rename(path)
        return spool

    def append(self, kind: Kind, **fields: Any) -> None:
        """Add one event. It is a single write to the system, so a kill leaves whole lines."""
        self._events += 1
        self._write({"id": self._events, "kind": kind, "time": now(), **fields})

    def keep_file(self, source: Path) -> str:
        """Keep a file or folder as it is now: steps move their files before anything is sent.

        Returns:
            The copy's path below the spool's own folder. It shares the content on disk (hard link) where it can.
        """
        target = self.files / str(self._events + 1) / source.name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, copy_function=_link_or_copy)
        else:
            _link_or_copy(str(source), str(target))
        return target.relative_to(self.files).as_posix()

    @property
    def files(self) -> Path:
        """Where files wait for their shipment."""
        return files_of(self.path)

    def close(self) -> None:
        """Let go of the lock: from now on anybody may ship the spool."""
        os.close(self._handle)

    def _write(self, event: Event) -> None:
        line = ("\n" if self._torn else "") + json.dumps(event, ensure_ascii=False) + "\n"
        content = line.encode()
        self._torn = os.write(self._handle, content) != len(content)
        if self._torn:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))


def now() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def files_of(path: Path) -> Path:
    """The folder beside a spool with the files that wait for their shipment."""
    return path.with_suffix(".files")


def read_header(path: Path) -> Header | None:
    """A spool's first line, or None where it is torn."""
    with path.open("rb") as file:
        event = _parse(file.readline())
    if event is None or event.pop("kind", None) != "header":
        return None
    return Header(**event)


def read_events(path: Path, offset: int = 0) -> tuple[list[Event], int]:
    """Events from a byte offset on, without the header.

    Returns:
        The events, and the offset behind the last whole line.
    """
    with path.open("rb") as file:
        file.seek(offset)
        content = file.read()
    end = content.rfind(b"\n") + 1
    events = [event for line in content[:end].splitlines() if (event := _parse(line)) is not None]
    return [event for event in events if event["kind"] != "header"], offset + end


def leftovers(folder: Path) -> list[Path]:
    """All spools of a folder, oldest first, whoever holds them."""
    return sorted(folder.glob("*.jsonl"), key=lambda path: (path.stat().st_mtime_ns, path.name))


@contextmanager
def claim(path: Path) -> Iterator[bool]:
    """Hold the lock of a spool that nobody holds; gives False where its writer lives or it is gone."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        yield False
        return
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield path.exists()
    finally:
        os.close(handle)


def remove(path: Path) -> None:
    """Remove a shipped spool and its files."""
    path.unlink(missing_ok=True)
    shutil.rmtree(files_of(path), ignore_errors=True)


def _parse(line: bytes) -> Event | None:
    try:
        event = json.loads(line)
    except (json.JSONDecodeError, UnicodeDecodeError):
        return None  # torn by a kill or a full disk
    return event if isinstance(event, dict) and "kind" in event else None


def _link_or_copy(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copy2(source, target)
    return target


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested settings as ``a.b.c`` → text, lists as JSON."""
    flat: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}."))
        elif isinstance(value, list | tuple):
            flat[f"{prefix}{key}"] = json.dumps(list(value), ensure_ascii=False)
        else:
            flat[f"{prefix}{key}"] = str(value)
    return flat

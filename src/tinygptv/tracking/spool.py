"""A step's record on disk: one JSON line an event, written before anything is sent anywhere.

The first line, the header, says which run the events belong to, so that a spool alone is enough to create and fill
the run later, on a day when MLflow answers. A kill or a full disk may tear a line; such a line is skipped.

The writer holds the file's lock while it lives. A spool whose lock is free belongs to nobody and may be shipped.

A step that was killed, or whose result DVC never took, goes on in the spool of that attempt, and so in its run. What
the spool has already is not written again: a point of a curve is recorded once, however often a stage was killed.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import threading
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from tinygptv.ground.addresses import without_secrets
from tinygptv.ground.files import needing

Kind = Literal["metric", "param", "tag", "artifact", "dataset", "status", "attempt", "shipped"]
Event = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """Which run the events belong to."""

    spool: str
    """Unique; a tag of the run, by which a second shipment finds it."""
    step: str
    profile: str
    work: str
    """Digest of all that decides the step's result: another attempt at the same work goes on in the same run."""
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
        self._seen: set[tuple[Any, ...]] = set()
        self._writing = threading.Lock()  # the step writes, and the thread that measures the machine

    @classmethod
    def create(cls, folder: Path, **facts: Any) -> Spool:
        """Begin a new spool in a folder; it appears there locked and with its header.

        Args:
            folder: where spools lie.
            facts: the header's fields, but for ``spool`` and ``started``.
        """
        folder.mkdir(parents=True, exist_ok=True)
        header = Header(spool=uuid.uuid4().hex, started=now(), **facts)
        path = folder / f"{header.step}-{header.spool}.jsonl"
        hidden = path.with_suffix(".tmp")
        handle = os.open(hidden, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o644)
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        spool = cls(path, handle, header)
        spool._write({"kind": "header", **asdict(header)})
        hidden.rename(path)
        return spool

    @classmethod
    def reopen(cls, path: Path, **facts: Any) -> Spool | None:
        """Go on in the spool of an earlier attempt; None where its writer lives.

        Args:
            path: the spool.
            facts: of this attempt, for the run: ``pipeline``, ``flow_run``, ``git_sha``.
        """
        header = read_header(path)
        handle = os.open(path, os.O_RDWR | os.O_APPEND)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return None
        assert header is not None, f"{path} was chosen by its header"
        spool = cls(path, handle, header)
        size = os.fstat(handle).st_size
        spool._torn = os.pread(handle, 1, size - 1) != b"\n"
        for event in read_events(path)[0]:
            spool._events = max(spool._events, event.get("id", 0))
            spool._seen.add(_identity(event))
        spool.append("attempt", **facts)
        return spool

    def append(self, kind: Kind, **fields: Any) -> None:
        """Add one event, unless the spool has it from an earlier attempt.

        It is a single write to the system, so a kill leaves whole lines.
        """
        if isinstance(fields.get("value"), str):  # such as the words of a library's error
            fields["value"] = without_secrets(fields["value"])
        identity = _identity({"kind": kind, **fields})
        with self._writing:
            if self._handle < 0:
                raise ValueError(f"{self.path} is closed")
            if identity and identity in self._seen:
                return
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
    def age(self) -> int:
        """Seconds since the first attempt began."""
        return (now() - self.header.started) // 1000

    @property
    def files(self) -> Path:
        """Where files wait for their shipment."""
        return files_of(self.path)

    def close(self) -> None:
        """Let go of the lock: from now on anybody may ship the spool."""
        with self._writing:
            os.close(self._handle)
            self._handle = -1  # its number may be another file's soon

    def _write(self, event: Event) -> None:
        line = ("\n" if self._torn else "") + json.dumps(event, ensure_ascii=False) + "\n"
        content = line.encode()
        with needing(self.path, len(content)):
            try:
                while content:
                    content = content[os.write(self._handle, content) :]  # the rest of a short write says why
                    self._torn = bool(content)
            except OSError as error:
                raise OSError(error.errno, error.strerror, str(self.path)) from None


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
    if event is None or event.pop("kind", None) != "header" or event.keys() != Header.__dataclass_fields__.keys():
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
    return [event for event in events if event["kind"] not in ("header", "shipped")], offset + end


def last_status(events: Iterable[Event]) -> str | None:
    """How the last attempt ended: ``FINISHED``, ``FAILED``, ``KILLED``, or None for one that was killed unheard."""
    status = None
    for event in events:
        if event["kind"] in ("status", "attempt"):
            status = event.get("value")
    return status


def shipped_until(path: Path) -> int:
    """The byte offset up to which all has been shipped."""
    offset = 0
    with path.open("rb") as file:
        for line in file:
            event = _parse(line)
            if event is not None and event["kind"] == "shipped":
                offset = file.tell()
    return offset


def _parse(line: bytes) -> Event | None:
    try:
        event = json.loads(line)
    except (json.JSONDecodeError, UnicodeDecodeError):
        return None  # torn by a kill or a full disk
    return event if isinstance(event, dict) and "kind" in event else None


def _identity(event: Event) -> tuple[Any, ...]:
    """What makes an event another one than those before; points of a curve and inputs are recorded once."""
    match event["kind"]:
        case "metric":
            return "metric", event["name"], event["step"]
        case "dataset":
            return "dataset", event["name"], event["md5"], event["context"]
        case _:
            return ()  # recorded each time: the last value counts


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

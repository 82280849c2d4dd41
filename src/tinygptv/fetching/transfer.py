"""A file from an address: whole and as expected, or not at all; what an interruption left of it is continued.

What has come lies in ``<file>.part`` until all is there and the digest is right. Beside it stands which version of the
file the server began with (its ETag), so that a file that was changed in between begins anew.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import BinaryIO

import httpx2

from tinygptv.ground.errors import BusyError, DataError
from tinygptv.ground.files import needing, require_room, sha256_file, sync_folder, write_text
from tinygptv.ground.progress import Progress

CHUNK = 1 << 20
PATIENCE_S = 30.0
"""For a server's answer, and for each part of a file."""
ATTEMPTS = 5
"""Times that a transfer is taken up again without a byte having come in between."""
LONGEST_WAIT_S = 60.0
SLOWEST = 1000
"""Bytes a second, over ``SLOW_S``; a server that gives less is asked again, as one that gives nothing."""
SLOW_S = 60.0
MOST_UNTOLD = 4 << 30
"""Of a file whose size neither its server says nor anybody else."""
_MEGABYTE = 1_000_000
_AGAIN = (408, 425, 429, 500, 502, 503, 504)
_NOT_THERE = 416


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a file must be, and who says so."""

    what: str
    """For messages, such as ``train2014.zip of images.cocodataset.org``."""
    size: int | None
    sha256: str | None
    by: str
    """The lock file."""

    def refuse(self, kind: str, expected: object, found: object, giver: str) -> None:
        """Refuse a file that is another one.

        Raises:
            DataError: the message has both values.
        """
        if None not in (expected, found) and expected != found:
            raise DataError(f"{self.what}: {self.by} expects {kind} {expected}, {giver} gave {found}; it was not kept")


class CutOffError(Exception):
    """A transfer ended early."""


class TooSlowError(CutOffError):
    """A transfer came almost to a standstill."""


def download(
    client: httpx2.Client,
    url: str,
    target: Path,
    expected: Expected,
    *,
    giver: str,
    headers: dict[str, str] | None = None,
    check: Callable[[httpx2.Response], object] = httpx2.Response.raise_for_status,
) -> tuple[int, str]:
    """Download a file, or the rest of it, check it, and give it its name.

    Args:
        client: asks; it follows redirects.
        url: the address.
        target: where the file will lie.
        expected: what it must be; what is None is taken as it comes.
        giver: who has the file, for messages.
        headers: of every request.
        check: raises an error for an answer that is none.

    Returns:
        Its size and SHA-256.

    Raises:
        DataError: it is another file.
        BusyError: another process is at it.
        NoSpaceError: it has no room.
        CutOffError: it ended early, again and again.
        httpx2.HTTPError: as the client and ``check`` raise it, after ``ATTEMPTS``.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    with claim(part, expected.what) as content:
        transfer = _Transfer(client, url, content, expected, giver, headers or {}, check)
        transfer.run()
        content.flush()
        os.fsync(content.fileno())
        size, digest = part.stat().st_size, sha256_file(part)
        if expected.sha256 not in (None, digest) or expected.size not in (None, size):
            part.unlink()
            version_file(part).unlink(missing_ok=True)
            expected.refuse("size", expected.size, size, giver)
            expected.refuse("sha256", expected.sha256, digest, giver)
        part.replace(target)
        version_file(part).unlink(missing_ok=True)
    sync_folder(target.parent)
    return size, digest


@contextmanager
def claim(part: Path, what: str) -> Iterator[BinaryIO]:
    """Open a partial file for this process alone; the kernel gives it free when the process dies.

    Raises:
        BusyError: another has it.
    """
    part.touch()
    with part.open("r+b") as content:
        try:
            fcntl.flock(content, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(f"another process is downloading {what} to {part}; wait for it") from None
        yield content


def version_file(part: Path) -> Path:
    """Where it stands of which version a partial file is a part."""
    return part.with_name(f"{part.name}.version")


class _Transfer:
    """The requests that it takes until all of a file has come."""

    def __init__(
        self,
        client: httpx2.Client,
        url: str,
        content: BinaryIO,
        expected: Expected,
        giver: str,
        headers: dict[str, str],
        check: Callable[[httpx2.Response], object],
    ) -> None:
        self._client, self._url, self._content, self._expected = client, url, content, expected
        self._giver, self._headers, self._check = giver, {**headers, "Accept-Encoding": "identity"}, check
        self._part = Path(content.name)
        self._name = self._part.name.removesuffix(".part")
        self._whole = False

    def run(self) -> None:
        """Ask until all is there."""
        done = self._content.seek(0, os.SEEK_END)
        if self._expected.size is not None and done > self._expected.size:
            done = self._anew()
        failures, size = 0, self._expected.size
        with Progress(f"{self._name} (MB)", None if size is None else megabytes(size), megabytes(done)) as bar:
            while not self._whole and not (done and done == size):
                before = done
                try:
                    done = self._ask(done, bar)
                except (httpx2.HTTPError, CutOffError) as error:
                    done = self._content.tell()
                    failures = 0 if done > before and not isinstance(error, TooSlowError) else failures + 1
                    if failures >= ATTEMPTS or not may_pass(error):
                        raise
                    time.sleep(_pause(error, failures))

    def _ask(self, done: int, bar: Progress) -> int:
        """One request, for what is missing; gives back how many bytes are there then."""
        headers, version = dict(self._headers), version_file(self._part)
        if done and self._expected.sha256 is None and not version.is_file():
            done = self._anew()  # nothing would tell that two files were put together
        if done:
            headers["Range"] = f"bytes={done}-"
            with suppress(FileNotFoundError):
                headers["If-Range"] = version.read_text()
        with self._client.stream("GET", self._url, headers=headers, timeout=PATIENCE_S) as answer:
            if answer.status_code == _NOT_THERE and done:  # it is whole and of unknown size, or has become shorter
                return self._anew()
            self._check(answer)
            if done and not _goes_on(answer, done):
                done = self._anew()
            self._look_at(answer, done)
            if not done:
                self._remember(answer)
            return self._take(answer, done, bar)

    def _anew(self) -> int:
        self._content.seek(0)
        self._content.truncate()
        version_file(self._part).unlink(missing_ok=True)
        return 0

    def _look_at(self, answer: httpx2.Response, done: int) -> None:
        """Refuse another size, and a page of HTML, before anything is moved; ask for room."""
        kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind == "text/html" and not self._url.lower().endswith((".html", ".htm")):
            raise DataError(f"{self._expected.what}: {self._giver} gave a web page (HTML); it was not kept")
        if (left := answer.headers.get("Content-Length", "")).isdecimal():
            self._expected.refuse("size", self._expected.size, done + int(left), self._giver)
            require_room(self._part, int(left))

    def _remember(self, answer: httpx2.Response) -> None:
        """Write down which version comes: its ETag, unless that is a weak one, or its date."""
        tag = answer.headers.get("ETag", "W/")
        if version := answer.headers.get("Last-Modified", "") if tag.startswith("W/") else tag:
            write_text(version_file(self._part), version)

    def _take(self, answer: httpx2.Response, done: int, bar: Progress) -> int:
        since, had = time.monotonic(), done
        told = self._expected.size is not None or "Content-Length" in answer.headers
        with needing(self._part, CHUNK):
            for chunk in answer.iter_raw():
                self._content.write(chunk)
                done += len(chunk)
                bar.update(megabytes(done))
                if self._expected.size is not None and done > self._expected.size:
                    self._anew()
                    self._expected.refuse("size", self._expected.size, f"more than {done - 1}", self._giver)
                if not told and done > MOST_UNTOLD:
                    raise DataError(f"{self._expected.what}: it has no size, and more than {MOST_UNTOLD:,} bytes")
                if (spent := time.monotonic() - since) > SLOW_S:
                    if done - had < SLOWEST * spent:
                        raise TooSlowError(f"{done - had} bytes came in {spent:.0f} s")
                    since, had = time.monotonic(), done
        self._content.flush()
        if self._expected.size is not None and done < self._expected.size:
            raise CutOffError(f"it ended after {done} of {self._expected.size} bytes")
        self._whole = True
        return done


def _goes_on(answer: httpx2.Response, done: int) -> bool:
    """Whether an answer begins where a partial file ends."""
    return answer.status_code == httpx2.codes.PARTIAL_CONTENT and answer.headers.get("Content-Range", "").startswith(
        f"bytes {done}-"
    )


def may_pass(error: Exception) -> bool:
    """Whether the same request may succeed a moment later."""
    if (status := _status(error)) is not None:
        return status in _AGAIN
    return not isinstance(error, httpx2.UnsupportedProtocol | httpx2.TooManyRedirects)


def _status(error: Exception) -> int | None:
    """The status of the answer that an error is about; huggingface_hub has errors of its own for it."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else None


def _pause(error: Exception, failures: int) -> float:
    """Seconds to wait: as long as the server asks for, or twice as long each time."""
    answer = getattr(error, "response", None)
    asked = "" if answer is None else answer.headers.get("Retry-After", "")
    if asked.isdecimal():
        return min(float(asked), LONGEST_WAIT_S)
    with suppress(ValueError):
        return min(max(parsedate_to_datetime(asked).timestamp() - time.time(), 0.0), LONGEST_WAIT_S)
    return min(2.0**failures / 2, LONGEST_WAIT_S)


def megabytes(count: int) -> int:
    """Bytes as megabytes, rounded up."""
    return -(-count // _MEGABYTE)

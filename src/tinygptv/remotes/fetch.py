"""Bring what lies at an address to its place on this machine: whole, verified, and no more of it than was changed.

A file goes to ``.parts`` and takes its place when it is whole; what an interruption left of it is continued, as long as
the file at the address is the same. Files are fetched side by side, in pieces, so that memory does not grow with them.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock

from tinygptv.ground.errors import DataError, PassingError
from tinygptv.ground.files import needing, require_room, sync_folder
from tinygptv.ground.locks import only_one
from tinygptv.ground.progress import Progress
from tinygptv.remotes.ledger import Ledger
from tinygptv.remotes.places import Address, local_place, parse, raw_folder
from tinygptv.remotes.store import FileStore, NothingThereError, RemoteFile

PIECE = 8 * 1024**2
"""Bytes that are asked for at once."""
AT_ONCE = 8
"""Files that are fetched at the same time."""
AHEAD = 4 * AT_ONCE
PARTS = ".parts"


def open_store(address: Address, root: Path) -> FileStore:
    """The store of an address.

    Raises:
        UserError: there is no such remote, or a package is missing.
    """
    if address.scheme == "hf":
        from tinygptv.remotes.hub_store import HubStore

        return HubStore(address)
    from tinygptv.remotes.dvc_store import DvcStore

    return DvcStore(address, root)


def fetch(name: str, root: Path) -> Path:
    """Bring a file, or a folder with all below it, to its place, and take away there what is gone at its address.

    Args:
        name: the address.
        root: the checkout, or a worktree of it.

    Returns:
        The place.

    Raises:
        NothingThereError: nothing is there.
        DataError: the address is none, or the store refuses.
        PassingError: the store cannot be reached just now, or files change while they are fetched.
        BusyError: another process fetches.
        NoSpaceError: the disk has too little room.
    """
    try:
        address, place = parse(name), local_place(name, root)
    except ValueError as error:
        raise DataError(str(error)) from None
    store, raw = open_store(address, root), raw_folder(root)
    at = place.relative_to(raw).as_posix()
    with only_one(raw.parent / "locks" / "raw.lock", f"fetching into {raw}"), Ledger(raw) as ledger:
        if store.fixed and ledger.is_whole(at):
            return place
        if not ledger.compare(at, name, store.files(address.path)):
            raise NothingThereError(f"{name}: nothing is there; check its name")
        ledger.remove_vanished(at)
        parts = raw / PARTS / hashlib.sha256(at.encode()).hexdigest()[:16]
        _Transfer(name, address.path, store, raw, parts).run(ledger)
        shutil.rmtree(parts, ignore_errors=True)  # of files that were changed before they were whole
        ledger.set_whole(at)
    return place


@dataclass
class _Transfer:
    """The files of an address on their way."""

    name: str
    path: str
    """Of the address, in its store."""
    store: FileStore
    raw: Path
    parts: Path

    def __post_init__(self) -> None:
        self._stop, self._lock, self._moved = Event(), Lock(), 0

    def run(self, ledger: Ledger) -> None:
        """Fetch what is missing."""
        count = needed = 0
        for place, file in ledger.missing():
            count, needed = count + 1, needed + file.size - _size(self._part(place, file))
        if not count:
            return
        require_room(self.raw, needed)
        waiting: deque[tuple[str, RemoteFile, Future[None]]] = deque()
        with Progress(f"{self.name}: files", count, unit="file") as progress, ThreadPoolExecutor(AT_ONCE) as pool:
            done = 0

            def finish(most: int) -> None:
                """Take files down, the oldest first, until so many are on their way."""
                nonlocal done
                while len(waiting) > most:
                    place, file, future = waiting.popleft()
                    while not wait([future], timeout=1).done:
                        progress.update(done, MB=self._moved / 1e6)
                    future.result()
                    ledger.add(place, file)
                    done += 1
                    progress.update(done, MB=self._moved / 1e6)

            try:
                for place, file in ledger.missing():
                    waiting.append((place, file, pool.submit(self._bring, place, file)))
                    finish(AHEAD)
                finish(0)
            except BaseException:
                self._stop.set()
                pool.shutdown(cancel_futures=True)
                raise

    def _bring(self, place: str, file: RemoteFile) -> None:
        """Fetch a file, or the rest of it, check it, and give it its place; runs in a thread."""
        part, final = self._part(place, file), self.raw / place
        path = "/".join(filter(None, (self.path, file.path)))
        what = f"{self.name}{'/' if file.path else ''}{file.path}"
        part.parent.mkdir(parents=True, exist_ok=True)
        resumed = _size(part) > 0
        if not self._read_rest(path, what, file, part):
            return None
        if file.digest and digest_of(part, file) != file.digest and (why := self.store.disagrees(path, file)):
            part.unlink()
            if resumed:
                return self._bring(place, file)
            raise PassingError(f"{what}: {why}; it was not kept, try again later")
        with _placing(what):
            final.parent.mkdir(parents=True, exist_ok=True)
            part.replace(final)
        sync_folder(final.parent)
        return None

    def _read_rest(self, path: str, what: str, file: RemoteFile, part: Path) -> bool:
        """Read into a partial file what it lacks; False where all is to stop."""
        with needing(part, file.size), part.open("ab") as content:
            # What was flushed is what it says, also after a power cut; the last piece may not have been.
            start = max(0, (content.tell() // PIECE - 1) * PIECE) if content.tell() <= file.size else 0
            content.truncate(start)
            pieces = 0
            while start < file.size:
                if self._stop.is_set():
                    return False
                stop = min(start + PIECE, file.size)
                read = self.store.read(path, start, stop)
                if len(read) != stop - start:
                    raise PassingError(f"{what}: {len(read):,} bytes came instead of {stop - start:,}; try again later")
                content.write(read)
                content.flush()
                os.fsync(content.fileno())
                with self._lock:
                    self._moved += len(read)
                start, pieces = stop, pieces + 1
        if pieces > 1 and not self.store.fixed and self.store.state(path) != file.state:
            part.unlink()
            raise PassingError(f"{what} was changed while it was fetched; try again later")
        return True

    def _part(self, place: str, file: RemoteFile) -> Path:
        return self.parts / hashlib.sha256(f"{place}\0{file.state}".encode()).hexdigest()[:32]


def digest_of(path: Path, file: RemoteFile) -> str:
    """The digest of a file, of the kind in which its store gives it.

    Args:
        path: the file.
        file: what the store says of it.
    """
    kind = file.digest.partition(":")[0]
    with path.open("rb") as content:
        if kind != "git":
            return f"{kind}:{hashlib.file_digest(content, kind).hexdigest()}"
        digest = hashlib.sha1(f"blob {file.size}\0".encode(), usedforsecurity=False)
        while block := content.read(PIECE):
            digest.update(block)
        return f"git:{digest.hexdigest()}"


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


@contextmanager
def _placing(what: str) -> Iterator[None]:
    """Where a store has ``a`` and ``a/b`` as files, a disk has not.

    Raises:
        DataError: it is so.
    """
    try:
        yield
    except (FileExistsError, NotADirectoryError, IsADirectoryError):
        raise DataError(f"{what}: a file and a folder of one name, which no disk can hold; rename one there") from None

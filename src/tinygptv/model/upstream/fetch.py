"""Pinned files from a folder, the hub's cache on this machine, or the hub; nothing whose digest is another is used.

huggingface_hub's own download begins anew in every process; its parts are used here with ``fetching/transfer.py``, so
that ``HF_ENDPOINT``, ``HF_TOKEN``, ``HF_HUB_OFFLINE`` and ``HF_HOME`` mean what they mean elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tinygptv.fetching import transfer
from tinygptv.fetching.http import fetch_file
from tinygptv.fetching.transfer import CutOffError, Expected
from tinygptv.ground.errors import DataError, PassingError
from tinygptv.ground.files import sha256_file
from tinygptv.model.upstream.pins import PINS, Pin, Pins, Repository
from tinygptv.remotes.hub_errors import NoNetworkError, hub_errors

TIMEOUT_S = 15.0
"""For the hub's first answer."""
HUB = "the hub"


def gather(pins: Pins, *, folder: Path | None, downloads: Path) -> dict[str, dict[str, Path]]:
    """Get every pinned file and check it.

    Args:
        pins: complete entries, as ``pins.pinned`` gives them.
        folder: holds the files already, as ``<folder>/<owner>/<name>/<file>``; None: get what ``downloads`` lacks.
        downloads: where downloads are kept, as ``<downloads>/<owner>/<name>/<revision>/<file>``; of an address the
            folder of the revision is left out.

    Returns:
        Repository → file → where it is.

    Raises:
        DataError: a file is missing or has another digest, or the hub does not have it.
        PassingError: the hub cannot be reached just now; the message then says which files to put where.
        BusyError: another process is downloading the same file.
    """
    places = {
        repository: (folder / repository if folder else home(downloads, repository, entry))
        for repository, entry in pins.items()
    }
    instruction = what_to_put_where(pins, places)
    if folder is not None and instruction:
        raise DataError(f"backbones.folder lacks files: {instruction}, or empty the key to download them")
    found: dict[str, dict[str, Path]] = {repository: {} for repository in pins}
    for repository, entry in pins.items():
        for file, pin in sorted(entry.files.items()):
            place = places[repository] / file
            if place.is_file():
                check(place, pin, repository)
            else:
                try:
                    place = get(repository, entry, file, pin, place)
                except NoNetworkError as error:
                    instruction = what_to_put_where(pins, places)
                    raise error.kind(f"{error}; {instruction}, or name their folder in backbones.folder") from None
            found[repository][file] = place
    return found


def get(repository: str, entry: Repository, file: str, pin: Pin, place: Path) -> Path:
    """A file that is not here yet: where it comes to lie, or where the hub's cache has it.

    Raises:
        DataError: there is another file or none.
        PassingError: it cannot be had just now.
        NoNetworkError: the hub cannot be reached.
    """
    if entry.address is not None:
        fetch_file(f"{entry.address}/{file}", place, by=str(PINS), size=pin.size, sha256=pin.sha256)
        return place
    assert entry.revision is not None
    return cached(repository, entry.revision, file, pin) or download(repository, entry.revision, file, pin, place)


def home(downloads: Path, repository: str, entry: Repository) -> Path:
    """The folder of a revision's downloads, or of an address's."""
    return downloads / repository / (entry.revision or "")


def what_to_put_where(pins: Pins, places: dict[str, Path]) -> str:
    """The missing files, as an instruction; empty where none is missing."""
    parts = []
    for repository, entry in pins.items():
        missing = [file for file in sorted(entry.files) if not (places[repository] / file).is_file()]
        if missing:
            parts.append(f"{', '.join(missing)} of {repository} {entry.version} into {places[repository]}")
    return f"put {' and '.join(parts)}" if parts else ""


def check(path: Path, pin: Pin, repository: str) -> None:
    """Compare size and digest of a file with the lock file.

    Raises:
        DataError: the message has both values.
    """
    size = path.stat().st_size
    if size != pin.size:
        raise DataError(
            f"{path} ({repository}): {PINS} expects {pin.size} bytes, found {size}; remove it and run the step again"
        )
    digest = sha256_file(path)
    if digest != pin.sha256:
        raise DataError(
            f"{path} ({repository}): {PINS} expects sha256 {pin.sha256}, found {digest}; "
            "remove it and run the step again"
        )


def cached(repository: str, revision: str, file: str, pin: Pin) -> Path | None:
    """The file in the hub's cache on this machine (``HF_HOME``), where it is there and as pinned."""
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(repository, file, revision=revision)
    if not isinstance(path, str) or Path(path).stat().st_size != pin.size or sha256_file(Path(path)) != pin.sha256:
        return None
    return Path(path)


def download(repository: str, revision: str, file: str, pin: Pin, target: Path) -> Path:
    """Download a file, or the rest of it, check it, and give it its name.

    A pin without size or digest takes what the hub offers: that is for ``resolve``, over files that it then pins.

    Raises:
        DataError: the hub has another file or none, or refuses.
        PassingError: it fails just now, or the transfer ended early.
        NoNetworkError: it cannot be reached.
        BusyError: another process is at it.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

    what = f"{file} of {repository} at revision {revision}"
    url = hf_hub_url(repository, file, revision=revision)
    headers = {**build_hf_headers(library_name="tinygptv"), "Accept-Encoding": "identity"}
    with _whole(what), hub_errors(what, str(PINS)):
        offered = get_hf_file_metadata(url, timeout=TIMEOUT_S, headers=headers)
        # The digest of a large file is the hub's own name for it: a change shows before gigabytes are moved.
        compare(what, "sha256", pin.sha256, offered.etag if offered.etag and len(offered.etag) == 64 else None)
        compare(what, "size", pin.size, offered.size)
        transfer.download(
            get_session(),
            url,
            target,
            Expected(what=what, size=offered.size, sha256=pin.sha256, by=str(PINS)),
            giver=HUB,
            headers=headers,
            check=hf_raise_for_status,
        )
    return target


def compare(what: str, kind: str, expected: object, found: object) -> None:
    """Refuse a file that is not the pinned one.

    Raises:
        DataError: the message has both values.
    """
    Expected(what=what, size=None, sha256=None, by=str(PINS)).refuse(kind, expected, found, HUB)


@contextmanager
def _whole(what: str) -> Iterator[None]:
    try:
        yield
    except CutOffError as error:
        raise PassingError(f"{what}: the transfer ended early ({error}); run the step again") from None

"""``tinygptv data lock``: sizes and digests of files that nobody has pinned yet.

What an address has the first time is taken on trust: nothing tells whether it is what its publishers made. From then on
every other machine gets this file or a refusal.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tinygptv.fetching.fetch import MissingFile, copy_in, lock_of
from tinygptv.fetching.http import fetch_file
from tinygptv.fetching.network import Network
from tinygptv.fetching.sources import SOURCES, PublishedFile, Sources, write_sources
from tinygptv.ground.files import sha256_file
from tinygptv.ground.locks import only_one


def pin_files(
    root: Path, home: Path, sources: Sources, names: Iterable[str], folder: Path | None, network: Network
) -> int:
    """Fetch what is not pinned, write down size and digest, and keep the file for ``data fetch``.

    Args:
        root: the checkout whose lock file is written.
        home: the checkout that has ``data/raw``.
        sources: all entries.
        names: those to be pinned.
        folder: has files already; what it lacks is downloaded.
        network: who may be asked.

    Returns:
        How many files were pinned.

    Raises:
        DataError: an address has nothing, or a file whose known part is another.
        PassingError: it cannot be reached just now.
    """
    pinned = 0
    for name in names:
        with only_one(lock_of(home, name), f"fetching {name}"):
            for number, file in enumerate(sources[name].files):
                if file.locked:
                    continue
                seen = _look(MissingFile(name, file, home, copy_in(folder, file)), network)
                files = (*sources[name].files[:number], seen, *sources[name].files[number + 1 :])
                sources = {**sources, name: sources[name].model_copy(update={"files": files})}
                write_sources(root / SOURCES, sources)  # after each: an interruption loses nothing
                print(f"{name}: {file.name} has {seen.size:,} bytes, sha256 {seen.sha256}", flush=True)
                pinned += 1
    return pinned


def _look(one: MissingFile, network: Network) -> PublishedFile:
    """The file with what was found of it."""
    own = one.places[0] if one.file.to is not None else one.download
    there = next((path for path in (one.copy, own, one.download) if path is not None and path.is_file()), None)
    if there is not None:
        size, digest = there.stat().st_size, sha256_file(there)
    else:
        size, digest = fetch_file(
            one.file.url,
            one.download,
            by=str(SOURCES),
            size=one.file.size,
            sha256=one.file.sha256,
            network=network,
        )
    return one.file.model_copy(update={"size": size, "sha256": digest})

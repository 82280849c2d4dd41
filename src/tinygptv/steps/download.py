"""``download``: look at the raw files of every data set and at what ``init`` names, and write down which they are.

DVC cannot know that a file that only a profile names was changed, so it looks each time. Files that stayed as they were
are not read again, and where nothing is new, nothing is recorded. What is missing and pinned in
``configs/datasets.lock.json`` is fetched first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from filecmp import cmp
from pathlib import Path

from tinygptv.config import DataSet
from tinygptv.data.manifest import RawFile, RawManifest, manifest_path, write_manifest
from tinygptv.data.source import form, place_of, raw_files
from tinygptv.fetching.sources import SOURCES
from tinygptv.ground.digests import DigestMemory
from tinygptv.ground.errors import DataError
from tinygptv.ground.file_names import INIT, USES
from tinygptv.ground.files import write_json
from tinygptv.ground.progress import Progress
from tinygptv.remotes.fetch import fetch
from tinygptv.remotes.places import is_address
from tinygptv.remotes.store import NothingThereError
from tinygptv.steps.harness import StepContext
from tinygptv.steps.init_from import init_digest


def same_as_before(context: StepContext) -> bool:
    """Write the manifests, and say whether they are those that are there already.

    Raises:
        DataError: a file is missing, or the data are not those of the recorded digest.
        PassingError: a missing file cannot be fetched just now.
    """
    fetch_missing(context.root, context.config.data)
    with DigestMemory.opened() as memory:
        for name, settings in context.config.data.items():
            look(manifest_path(context.out, name), name, settings, context.root, memory)
    scored = context.config.scored  # where a stage asks questions, other code that counts makes it train again
    write_json(context.out / USES, context.config.uses | ({"scored": scored} if scored else {}))
    write_json(context.out / INIT, init_digest(context.root, context.config.init))
    return context.published.is_dir() and _equal(context.out, context.published)


def fetch_missing(root: Path, sets: Mapping[str, DataSet]) -> None:
    """Fetch what data sets name and is not there, if it is pinned; what the lock file does not know stays missing."""
    named = dict.fromkeys(path for of_set in sets.values() for path in (*of_set.files, of_set.images) if path)
    missing = [path for path in named if not place_of(path, root).exists()]
    if missing and (root / SOURCES).is_file():
        from tinygptv.fetching.asked import get_missing

        get_missing(root, missing)


def _equal(first: Path, second: Path) -> bool:
    """Whether two folders have the same files, byte for byte; the first difference ends it."""
    names, others = (
        {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()} for folder in (first, second)
    )
    return names == others and all(cmp(first / name, second / name, shallow=False) for name in names)


def run(context: StepContext) -> None:
    """Tell what ``same_as_before`` found."""
    for name in context.config.data:
        files = sizes = 0
        for file in RawManifest(manifest_path(context.out, name)):
            files, sizes = files + 1, sizes + file.size
        context.run.metrics({f"{name}.files": files, f"{name}.bytes": sizes})
        print(f"{name}: {files:,} files, {sizes:,} bytes")


def look(out: Path, name: str, settings: DataSet, root: Path, memory: DigestMemory) -> None:
    """Write the manifest of a data set, and fetch before what of it lies elsewhere.

    Raises:
        DataError: a file is missing, there is none, or they are not those of the recorded digest.
        PassingError: what lies elsewhere cannot be reached just now.
        NoSpaceError: there is no room for it.
    """
    _fetch(settings, root)
    whole = write_manifest(out, seen(name, settings, root, memory))
    if not out.stat().st_size:
        raise DataError(f"data.{name} has no files; name them in `files`, or their folder in `images`")
    if settings.sha256 and settings.sha256 != whole:
        raise DataError(
            f"data.{name}.sha256 expects {settings.sha256}, found {whole}; get the files again, or record "
            "the digest of data you trust in the profile"
        )


def _fetch(settings: DataSet, root: Path) -> None:
    """Fetch what lies elsewhere; of some forms also what describes a file beside it."""
    for address in filter(is_address, (*settings.files, settings.images)):
        place = fetch(address, root)
        for other in getattr(form(settings), "BESIDE", ()) if place.is_file() else ():
            try:
                fetch(address.removesuffix(place.name) + other, root)
            except NothingThereError:
                place.with_name(other).unlink(missing_ok=True)


def seen(dataset: str, settings: DataSet, root: Path, memory: DigestMemory) -> Iterator[RawFile]:
    """The raw files of a data set, sorted by name; with a line of progress, for the first look reads all of them."""
    with Progress(f"{dataset}: files", None, unit="file") as progress:
        for count, (name, path) in enumerate(raw_files(settings, root), start=1):
            yield RawFile(name, *memory.sha256(path))
            progress.update(count)

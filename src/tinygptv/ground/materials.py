"""Outputs of steps by their DVC digest: from ``data/<profile>``, else from DVC's cache."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tinygptv.ground.dvc import cache_folder, dvc_md5, listed_files, lock_md5, object_file
from tinygptv.ground.errors import DataError
from tinygptv.ground.files import scratch_folder
from tinygptv.ground.folders import data_folder


@contextmanager
def output(root: Path, profile: str, step: str, md5: str) -> Iterator[Path]:
    """The folder with exactly this content, as long as the block lasts. Read only.

    Args:
        root: the checkout.
        profile: whose output it is.
        step: who made it.
        md5: DVC's digest of it, by the lineage of the model that was made of it.

    Raises:
        DataError: neither the checkout nor DVC's cache has it, or what the cache has is damaged.
    """
    own = data_folder(root, profile) / step
    if own.is_dir() and any(own.rglob("*")) and dvc_md5(own) == md5:
        yield own
        return
    with scratch_folder() as temporary:
        folder = temporary / step
        if not _link(cache_folder(root), md5, folder):
            raise DataError(f"the output {md5} of {step} is not in DVC's cache; {_fix(root, own, md5)}")
        if dvc_md5(folder) != md5:
            raise DataError(f"the output {md5} of {step} is damaged in DVC's cache; see `tinygptv doctor --deep`")
        yield folder


def _fix(root: Path, own: Path, md5: str) -> str:
    """What brings an output: only what the checkout's own lock records can be pulled or made here."""
    if lock_md5(root, own) == md5:
        return f"`dvc pull`, or `dvc repro {own.name}`"
    return (
        "`dvc pull` cannot bring it, for another checkout or commit made it: commit dvc.lock and `dvc push` there, "
        "then `git fetch` and `dvc fetch --all-commits` here, or do it there"
    )


def _link(cache: Path, md5: str, folder: Path) -> bool:
    """Fill a folder with links to a folder's objects; False where one is not there."""
    listing = object_file(cache, md5)
    if not listing.is_file():
        return False
    try:
        files = listed_files(listing)
    except ValueError:
        return False
    for file in files:
        content = object_file(cache, file.md5)
        if file.outside or not content.is_file():
            return False
        place = folder / file.path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(content.absolute())
    return bool(files)

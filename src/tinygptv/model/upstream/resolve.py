"""Filling in the lock file from the hub: the only place that follows a moving name such as ``main``.

What is pinned already stays pinned: the hub must still have it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tinygptv.fetching.http import fetch_file
from tinygptv.ground.errors import DataError
from tinygptv.ground.file_names import TOKENIZER, WEIGHTS
from tinygptv.ground.files import read_json, sha256_file
from tinygptv.model.upstream.fetch import TIMEOUT_S, compare, download
from tinygptv.model.upstream.pins import (
    IMAGE_ENCODER_TENSORS,
    INDEX,
    LANGUAGE_MODEL_TENSORS,
    PINS,
    Pin,
    Pins,
    Repository,
    needed_shards,
    read_pins,
    write_pins,
)
from tinygptv.remotes.hub_errors import NoNetworkError, hub_errors

if TYPE_CHECKING:
    from tinygptv.config import Published

UNKNOWN = Pin(size=None, sha256=None)


def fill_in(path: Path, settings: Published, downloads: Path) -> Pins:
    """Pin what a profile uses and the lock file does not pin yet; write the file.

    Args:
        path: the lock file.
        settings: the profile's section `backbones`.
        downloads: where files of addresses come to lie, for the step to find them; of the hub's none is kept.

    Returns:
        The entries of the profile.

    Raises:
        DataError: the hub lacks something, or has another file than a pinned one.
        PassingError: the hub cannot be reached just now.
    """
    pins = read_pins(path) if path.is_file() else {}
    uses = {
        settings.language_model: (LANGUAGE_MODEL_TENSORS, (TOKENIZER,)),
        settings.image_encoder: (IMAGE_ENCODER_TENSORS, ()),
    }
    try:
        for name, (prefixes, others) in uses.items():
            known = pins.get(name, Repository(revision=None, files={}))
            pins[name] = count(known, downloads / name) if known.address else resolve(name, prefixes, others, known)
    except NoNetworkError as error:
        raise error.kind(f"{error}; run the command on a machine with network") from None
    write_pins(path, pins)
    return {name: pins[name] for name in uses}


def resolve(name: str, prefixes: tuple[str, ...], others: tuple[str, ...], known: Repository) -> Repository:
    """Revision, sizes and digests of the files of a repository that hold these tensors, and of others beside them.

    The hub tells the digests of large files; small ones are downloaded and counted.
    """
    from huggingface_hub import HfApi

    with hub_errors(name, str(PINS)):
        info = HfApi().model_info(name, revision=known.revision, timeout=TIMEOUT_S, files_metadata=True)
    revision, offered = info.sha, {sibling.rfilename: sibling for sibling in info.siblings or []}
    if revision is None:
        raise DataError(f"{name}: the hub names no revision; try again later")
    with tempfile.TemporaryDirectory() as temporary:

        def pin(file: str) -> Pin:
            if file not in offered:
                raise DataError(f"{name} at revision {revision} has no {file}; it holds another kind of model")
            sibling, expected = offered[file], known.files.get(file, UNKNOWN)
            if sibling.lfs is not None:
                found = Pin(size=sibling.lfs.size, sha256=sibling.lfs.sha256)
            else:
                unchecked = Pin(size=sibling.size, sha256=None)
                local = download(name, revision, file, unchecked, Path(temporary) / file)
                found = Pin(size=local.stat().st_size, sha256=sha256_file(local))
            for key in ("size", "sha256"):
                compare(f"{file} of {name} at revision {revision}", key, getattr(expected, key), getattr(found, key))
            return found

        files = {file: pin(file) for file in others}
        files |= weights(name, prefixes, set(offered), pin, Path(temporary))
    return Repository(revision=revision, files=files)


def count(known: Repository, folder: Path) -> Repository:
    """Sizes and digests of files below an address, whose server tells no digest: they are downloaded and counted.

    Raises:
        DataError: the address has another file than a pinned one, or none.
        PassingError: it cannot be reached just now.
    """
    files = {}
    for file, pin in known.files.items():
        place = folder / file
        if not place.is_file():
            fetch_file(f"{known.address}/{file}", place, by=str(PINS), size=pin.size, sha256=pin.sha256)
        found = Pin(size=place.stat().st_size, sha256=sha256_file(place))
        for key in ("size", "sha256"):
            compare(f"{file} of {known.address}", key, getattr(pin, key), getattr(found, key))
        files[file] = found
    return known.model_copy(update={"files": files})


def weights(
    name: str, prefixes: tuple[str, ...], offered: set[str], pin: Callable[[str], Pin], folder: Path
) -> dict[str, Pin]:
    """The one file of weights, or the index and those shards that hold the tensors."""
    if INDEX not in offered:
        return {WEIGHTS: pin(WEIGHTS)}
    files = {INDEX: pin(INDEX)}
    shards = needed_shards(read_json(folder / INDEX), prefixes, f"{INDEX} of {name}")
    return files | {shard: pin(shard) for shard in shards}

"""Models of the hub: put there in one commit, and got back at one."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from tinygptv.ground import digests
from tinygptv.ground.errors import DataError
from tinygptv.remotes.fetch import digest_of
from tinygptv.remotes.hub_store import asking, listed_file
from tinygptv.remotes.places import Address, parse_model

AGAIN = "add --replace to put this one in its place"


def model_folder(name: str) -> Path:
    """The folder of a model of the hub, in the hub's cache on this machine (``HF_HOME``).

    Args:
        name: ``hf://OWNER/NAME@REVISION``.

    Raises:
        DataError: the address is none, or the hub has nothing there or refuses.
        PassingError: it cannot be reached just now.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        address = parse_model(name)
    except ValueError as error:
        raise DataError(str(error)) from None
    repository, revision, _ = address.hub_parts()
    _bars_on_terminals()
    wanted: dict[str, Any] = {"repo_id": repository, "revision": revision, "ignore_patterns": [".*"]}
    with suppress(LocalEntryNotFoundError):  # a commit does not change: where it is whole, the hub is not asked
        folder = Path(snapshot_download(**wanted, local_files_only=True))
        if digests.has_all(folder):
            return folder
    with asking(address):
        return Path(snapshot_download(**wanted))


def push_model(files: Mapping[str, Path], target: Address, *, replace: bool) -> str:
    """Put files into a repository in one commit; one that does not exist is made, private.

    Args:
        files: names to paths.
        target: the repository.
        replace: put them in the place of another model.

    Returns:
        What to tell: the address at which another person gets them.

    Raises:
        DataError: another model is there, or the hub refuses.
        PassingError: the hub cannot be reached just now, or somebody else has just put something there.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
    from huggingface_hub.hf_api import RepoFile

    api, repository = HfApi(), target.hub_parts()[0]
    _bars_on_terminals()
    with asking(target):
        api.create_repo(repository, private=True, exist_ok=True)
        info = api.model_info(repository)
        entries = api.list_repo_tree(repository, recursive=True, revision=info.sha)
        there = {one.path: listed_file("", one) for one in entries if isinstance(one, RepoFile)}
        there = {name: file for name, file in there.items() if not digests.is_hidden(name)}
        seen = "private" if info.private else "public"
        same = (digest_of(files[name], file) == file.digest for name, file in there.items())
        if there.keys() == files.keys() and all(same):
            return f"{target} has it already ({seen}): {_how_to_load(repository, info.sha)}"
        if there and not replace:
            raise DataError(f"another model is at {target}; {AGAIN}")
        changes: list[Any] = [CommitOperationAdd(name, str(path)) for name, path in files.items()]
        changes += [CommitOperationDelete(name) for name in sorted(there.keys() - files.keys())]
        done = api.create_commit(
            repository, changes, commit_message="A model with its card", parent_commit=info.sha, num_threads=1
        )
    return f"{len(files)} files are at {target} ({seen}): {_how_to_load(repository, done.oid)}"


def _bars_on_terminals() -> None:
    """huggingface_hub's bars are many lines in a file."""
    if not sys.stderr.isatty():
        from huggingface_hub.utils import disable_progress_bars

        disable_progress_bars()


def _how_to_load(repository: str, commit: str | None) -> str:
    return f'tinygptv.load("hf://{repository}@{commit}")'

"""A data set or a model of the hub at one commit. ``HF_ENDPOINT``, ``HF_TOKEN`` and ``HF_HUB_OFFLINE`` mean what they
mean to huggingface_hub, whose parts are used here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tinygptv.remotes.hub_errors import NoNetworkError, hub_errors
from tinygptv.remotes.places import Address
from tinygptv.remotes.store import FileStore, NothingThereError, RemoteFile


class HubStore(FileStore):
    """A repository at a commit."""

    fixed = True

    def __init__(self, address: Address) -> None:
        """Nothing is asked yet."""
        self._address = address
        self._repository, self._revision, self._kind = address.hub_parts()

    def files(self, path: str) -> Iterator[RemoteFile]:
        """The file at a path, or those below it, as the hub lists them, a page at a time."""
        from huggingface_hub import HfApi
        from huggingface_hub.hf_api import RepoFile

        api, at = HfApi(), {"revision": self._revision, "repo_type": self._kind}
        with asking(self._address):
            if path:
                found = api.get_paths_info(self._repository, [path], **at)
                if not found:
                    raise NothingThereError(f"{self._address}: nothing is there; check its name")
                if isinstance(found[0], RepoFile):
                    yield listed_file("", found[0])
                    return
            for entry in api.list_repo_tree(self._repository, path or None, recursive=True, **at):
                if isinstance(entry, RepoFile):
                    yield listed_file(entry.path.removeprefix(f"{path}/" if path else ""), entry)

    def read(self, path: str, start: int, stop: int) -> bytes:
        """Bytes of a file."""
        from huggingface_hub import hf_hub_url
        from huggingface_hub.utils import build_hf_headers, hf_raise_for_status, http_backoff

        url = hf_hub_url(self._repository, path, repo_type=self._kind, revision=self._revision)
        headers = {
            **build_hf_headers(library_name="tinygptv"),
            "Accept-Encoding": "identity",
            "Range": f"bytes={start}-{stop - 1}",
        }
        with asking(self._address):
            answer = http_backoff("GET", url, headers=headers, follow_redirects=True)
            hf_raise_for_status(answer)
            content: bytes = answer.content
        return content if answer.status_code == 206 else content[start:stop]

    def state(self, path: str) -> str:
        """Always the same."""
        return path


@contextmanager
def asking(address: Address) -> Iterator[None]:
    """Turn the errors of the hub into one line.

    Raises:
        DataError: it refuses.
        PassingError: it cannot be reached just now.
    """
    try:
        with hub_errors(str(address), "the address"):
            yield
    except NoNetworkError as error:
        raise error.kind(f"{error}; try again later, or set HF_ENDPOINT to a hub that can be") from None


def listed_file(name: str, found: Any) -> RemoteFile:
    """A file as the hub lists it.

    Args:
        name: from an address on.
        found: huggingface_hub's ``RepoFile``.
    """
    if found.lfs is not None:
        return RemoteFile(name, found.lfs.size, found.lfs.sha256, f"sha256:{found.lfs.sha256}")
    return RemoteFile(name, found.size, found.blob_id, f"git:{found.blob_id}")

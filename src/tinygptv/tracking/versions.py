"""Which version of the registry an address means right now, for services that follow an alias.

An alias moves by itself, so what it names must have passed the gate; who writes a version's number has chosen it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinygptv.ground.errors import DataError, UserError, brief
from tinygptv.ground.files import sha256_tree
from tinygptv.tracking import ADDRESS, faults, promoted
from tinygptv.tracking.client import prepare_environment, require_store, store_root, tracking_uri
from tinygptv.tracking.registry import (
    CHAMPION,
    DIGEST_TAG,
    PASSED_TAG,
    REASONS_TAG,
    RESTORED_TAG,
    weights_folder,
)


@dataclass(frozen=True, slots=True)
class ResolvedVersion:
    """A registered version."""

    address: str
    """``models:/<name>/<version>``."""
    digest: str | None
    """SHA-256 of its package; None where somebody registered it by hand."""


class Registry:
    """A connection that stays open between questions."""

    def __init__(self, ungated: bool = False) -> None:
        """To the store of this checkout; ``ungated``: an alias may name what has not passed the gate."""
        self._ungated = ungated
        self.root = store_root()
        self.uri = tracking_uri(self.root)
        self._client: Any = None
        self._seen: dict[str, str | None] = {}
        """Digests by address, and the champion by model, as they were at the first look."""

    def find(self, source: str) -> ResolvedVersion:
        """The version that an address such as ``models:/tinygptv@champion`` means now.

        Raises:
            UserError: the address is of another form, there is no such version, its gate did not pass, or the registry
                does not answer.
            DataError: it is not the version that was promoted, or registered, here.
        """
        parts = ADDRESS.fullmatch(source)
        if parts is None:
            raise UserError(f"{source}: an address is models:/<name>@<alias> or models:/<name>/<version>")
        client = self._connect(source)
        try:
            if parts["alias"]:
                found = client.get_model_version_by_alias(parts["name"], parts["alias"])
            else:
                found = client.get_model_version(parts["name"], parts["version"])
        except faults.kinds() as error:
            raise faults.of_version(error, source, self.uri) from None
        version = ResolvedVersion(f"models:/{parts['name']}/{found.version}", found.tags.get(DIGEST_TAG))
        if parts["alias"] == CHAMPION:
            self._require_promoted(parts["name"], str(found.version), version)
        if self._seen.setdefault(version.address, version.digest) != version.digest:
            raise DataError(f"{version.address}: the digest in its tags was changed since it was first looked at")
        if parts["alias"] and not self._ungated:
            _require_passed(source, version.address, found.tags)
        return version

    def _require_promoted(self, name: str, number: str, version: ResolvedVersion) -> None:
        """Refuse a champion that none of this project's commands made.

        Raises:
            DataError: somebody moved the alias, or changed the digest, in the registry alone.
        """
        kept, file = promoted.read(self.uri, name), promoted.file_of(self.uri, name)
        if kept is None:  # of a time before there was such a record, or of a server: the first one that is seen
            known = file is None or self._seen.setdefault(name, number) == number
        else:
            known = number in kept and kept[number] == version.digest
        if not known:
            former = " or ".join(kept) if kept is not None else self._seen[name]
            raise DataError(
                f"{version.address} is champion, but `tinygptv promote` or `rollback` did not make it so; let the "
                f"alias name version {former} again, or, if you moved it yourself, remove {file} and start anew"
            )

    def download(self, version: ResolvedVersion, target: Path) -> Path:
        """Copy a version's package below a folder, and check that it is what was registered.

        Raises:
            UserError: it cannot be read.
            DataError: its content is not that of its tag.
        """
        folder = weights_folder(version.address, self.root, target)
        if version.digest is not None and (digest := sha256_tree(folder)) != version.digest:
            raise DataError(
                f"{version.address}: the package has SHA-256 {digest[:12]}, its tag says {version.digest[:12]}; "
                "it was changed after it was registered"
            )
        return folder

    def _connect(self, source: str) -> Any:
        require_store(self.root, source)
        faults.require_readable(self.uri, f"reading {source} from {self.uri}")
        if self._client is None:
            prepare_environment(self.root)
            import mlflow

            self._client = mlflow.MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)
        return self._client


def _require_passed(source: str, address: str, tags: Mapping[str, str]) -> None:
    """Refuse what the gate has not let through, unless a rollback brought it back.

    Raises:
        UserError: it has not.
    """
    if tags.get(PASSED_TAG) != "true" and RESTORED_TAG not in tags:
        why = brief(tags.get(REASONS_TAG, "it was registered by hand, and nobody asked the gate"))
        raise UserError(
            f"{source} names {address}, whose gate did not pass ({why}); serve it by its number, or add --ungated"
        )

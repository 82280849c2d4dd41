"""The lock file: of which revision of which repository which files are used, with their sizes and SHA-256.

A value that is ``null`` is not known yet; nothing is used before all values of its repository are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from tinygptv.config.base import Section
from tinygptv.ground.errors import DataError
from tinygptv.ground.file_names import WEIGHTS
from tinygptv.ground.files import read_json, write_json

PINS = Path("configs") / "backbones.lock.json"
"""Where the lock file lies in the checkout."""
COMMAND = "python -m tinygptv.model.upstream lock"
INDEX = f"{WEIGHTS}.index.json"

LANGUAGE_MODEL_TENSORS = ("",)
IMAGE_ENCODER_TENSORS = ("vision_model.", "qformer.", "query_tokens")
"""Beginnings of the names that are used of a repository: BLIP-2's own language model stays where it is."""

PICKLED = ".pth"
"""Of an address that has nothing else; the hub's files are safetensors."""

FileName = Annotated[str, Field(pattern=r"^\w[\w.-]*$")]
"""Of a file at the top of a repository: a name from the hub must not lead out of the folder."""


class Pin(Section):
    """Size in bytes and SHA-256 of a file."""

    size: Annotated[int, Field(ge=0)] | None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None


class Repository(Section):
    """A revision (commit) of a repository and the files of it that are used; or files below an address."""

    address: Annotated[str, Field(pattern=r"^https://[^?#]+[^/?#]$")] | None = None
    """Of files that no hub has; they have no revision, and their digests are all that tells one from another."""
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] | None
    files: dict[FileName, Pin]

    @property
    def unpinned(self) -> list[str]:
        """What is not known yet."""
        unknown = [name for name, pin in sorted(self.files.items()) if pin.size is None or pin.sha256 is None]
        unknown += [] if self.revision or self.address else ["revision"]
        return unknown + ([] if any(map(is_weights, self.files)) else ["its files of weights"])

    @property
    def version(self) -> str:
        """Where its files are from, for messages."""
        return f"from {self.address}" if self.address else f"at revision {self.revision}"


Pins = dict[str, Repository]
"""Repository (``owner/name``) to what is pinned of it."""


def read_pins(path: Path) -> Pins:
    """Read and check the lock file.

    Raises:
        DataError: it is missing, or not of this form.
    """
    if not path.is_file():
        raise DataError(f"{path} is missing; restore it with git")
    try:
        return TypeAdapter(Pins).validate_python(read_json(path))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        raise DataError(f"{path}: {key}: {first['msg']}; restore the file with git") from None


def write_pins(path: Path, pins: Mapping[str, Repository]) -> None:
    """Write the lock file."""
    write_json(
        path, {name: repository.model_dump(mode="json", exclude_defaults=True) for name, repository in pins.items()}
    )


def pinned(path: Path, names: Iterable[str]) -> Pins:
    """The entries of these repositories, complete.

    Raises:
        DataError: lists what is not pinned.
    """
    pins = read_pins(path)
    unknown = {name: pins[name].unpinned if name in pins else ["the repository"] for name in names}
    listed = "; ".join(f"{name} ({', '.join(what)})" for name, what in unknown.items() if what)
    if listed:
        raise DataError(
            f"{path} does not pin {listed}, and what is not pinned is not used; "
            f"run `{COMMAND}` once on a machine with network and commit the file"
        )
    return {name: pins[name] for name in names}


def is_weights(name: str) -> bool:
    """Whether a file of this name holds tensors."""
    return name.endswith((".safetensors", PICKLED))


def needed_shards(index: Any, prefixes: tuple[str, ...], origin: str) -> list[str]:
    """Files that hold the tensors of these beginnings of names.

    Args:
        index: content of ``model.safetensors.index.json``.
        prefixes: ``("",)`` means all.
        origin: for messages.

    Raises:
        DataError: it is no index, or has no such tensor.
    """
    table = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(table, dict) or not all(isinstance(file, str) for file in table.values()):
        raise DataError(
            f"{origin} has no table `weight_map` from tensors to files; it belongs to another kind of model"
        )
    for prefix in prefixes:
        if not any(name.startswith(prefix) for name in table):
            raise DataError(f"{origin} has no tensor {prefix}*; the repository holds another model")
    return sorted({file for name, file in table.items() if name.startswith(prefixes)})

"""The lock file of data sets: where each published file is, its size, SHA-256 and licence, and what a set counts.

A value that is ``null`` is not known. What has no digest is not fetched before ``tinygptv data lock`` has seen it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal, Self
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError, model_validator

from tinygptv.config.base import Count, Fraction, Section
from tinygptv.ground.errors import DataError, UserError, meant
from tinygptv.ground.files import write_json

SOURCES = Path("configs") / "datasets.lock.json"
"""Where the lock file lies in the checkout."""
RAW = "data/raw/"
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")


def _below_raw(path: str) -> str:
    parts = PurePosixPath(path).parts
    if not path.startswith(RAW) or ".." in parts or "\\" in path or path.rstrip("/") != str(PurePosixPath(path)):
        raise ValueError(f"{path!r} is no path below {RAW}")
    return path


RawPath = Annotated[str, AfterValidator(_below_raw)]
"""From the checkout on; a folder ends with a slash where it matters which of the two it is."""
Amount = Annotated[int, Field(ge=0)]


class PublishedFile(Section):
    """A file at an address: kept as it is, or an archive whose members are."""

    url: Annotated[str, Field(pattern=r"^https?://[^\s@]+$")]
    size: Amount | None = None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    to: RawPath | None = Field(default=None, description="Where the file lies.")
    unpack: dict[str, RawPath] = Field(
        default={},
        description="Beginning of members' names, ended by a slash, or the last part of one's name → where they lie.",
    )
    unpacked: Amount | None = Field(default=None, description="Bytes of the members.")

    @property
    def name(self) -> str:
        """Its name at the end of the address."""
        return PurePosixPath(unquote(urlsplit(self.url).path)).name

    @property
    def locked(self) -> bool:
        """Whether it is known what must come."""
        return self.size is not None and self.sha256 is not None

    @property
    def places(self) -> tuple[str, ...]:
        """What is there when it is fetched."""
        return tuple(self.unpack.values()) or (str(self.to),)

    @model_validator(mode="after")
    def _lies_somewhere(self) -> Self:
        if (self.to is None) == (not self.unpack):
            raise ValueError(f"{self.url}: give either `to` or `unpack`")
        if self.unpack and not self.name.lower().endswith(ARCHIVES):
            raise ValueError(f"{self.url}: only {', '.join(ARCHIVES)} are unpacked")
        if any(member.endswith("/") != place.endswith("/") for member, place in self.unpack.items()):
            raise ValueError(f"{self.url}: a folder of members needs a folder to lie in, both with a slash at the end")
        return self


class AddressList(Section):
    """Pictures that are asked for one by one, at the addresses of a list."""

    file: RawPath = Field(description="The list.")
    form: Literal["captions", "ocr_vqa"] = Field(
        description="`captions`: JSON list of {url, caption}, which become tars as img2dataset's; `ocr_vqa`: its "
        "dataset.json, whose pictures become files."
    )
    to: RawPath = Field(description="Folder of the tars or pictures.")
    max_dead: Fraction = Field(description="Share of addresses without a picture above which the command complains.")


class SetCounts(Section):
    """How much a set holds, as its publishers say; null where they do not."""

    images: Count | None = None
    records: Count | None = None
    bytes: Count | None = Field(default=None, description="Of pictures that are asked for by address.")
    rounded: bool = Field(default=False, description="The publishers' numbers are round ones.")
    source: str = Field(description="Who says so.")


class DataSource(Section):
    """A published set, or pictures that several sets share."""

    licence: str
    terms: str = Field(description="Where licence and terms are to be read, or who has to be asked.")
    images: tuple[str, ...] = Field(default=(), description="Entries that hold its pictures.")
    files: tuple[PublishedFile, ...] = ()
    pictures: AddressList | None = None
    by_hand: dict[RawPath, str] = Field(default={}, description="What lies where, and how a person gets it.")
    counts: SetCounts

    @property
    def places(self) -> tuple[str, ...]:
        """Everything that is there when the set is."""
        of_pictures = (self.pictures.to,) if self.pictures else ()
        return (*(place for file in self.files for place in file.places), *self.by_hand, *of_pictures)

    @property
    def unlocked(self) -> list[str]:
        """Names of files whose size or digest is not known."""
        return [file.name for file in self.files if not file.locked]

    @property
    def size(self) -> int:
        """Bytes of the files whose size is known."""
        return sum(file.size or 0 for file in self.files)


Sources = dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")], DataSource]


def read_sources(path: Path) -> Sources:
    """Read and check the lock file.

    Raises:
        DataError: it is missing, or not of this form; names the entry and the key.
    """
    if not path.is_file():
        raise DataError(f"{path} is missing; restore it with git")
    try:
        sources = TypeAdapter(Sources).validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        said = (
            f"unknown key `{key}`"
            if first["type"] == "extra_forbidden"
            else ": ".join(filter(None, (key, first["msg"])))
        )
        raise DataError(f"{path}: {said}; correct it, or restore the file with git") from None
    for name, source in sources.items():
        for other in source.images:
            if other not in sources:
                raise DataError(f"{path}: {name}.images names {other}, which is no entry{meant(other, sources)}")
    return sources


def write_sources(path: Path, sources: Mapping[str, DataSource]) -> None:
    """Write the lock file; what has its default value is left out, but for sizes and digests."""
    content = {name: source.model_dump(mode="json", exclude_defaults=True) for name, source in sources.items()}
    for name, source in sources.items():
        for entry, file in zip(content[name].get("files", ()), source.files, strict=True):
            entry |= {"size": file.size, "sha256": file.sha256}
    write_json(path, content)


def chosen(sources: Sources, names: tuple[str, ...]) -> Sources:
    """Entries by their names, each once, and those that hold their pictures.

    Raises:
        UserError: there is no such entry.
    """
    found: Sources = {}
    for name in names:
        if name not in sources:
            raise UserError(
                f"{name} is no entry of {SOURCES}{meant(name, sources)}; it has {', '.join(sorted(sources))}"
            )
        found |= {other: sources[other] for other in (name, *sources[name].images)}
    return found


def giving(sources: Sources, path: str) -> Iterator[str]:
    """The entries that give what lies at a path, or a part of it, or the folder that it is in."""
    wanted = f"{path.rstrip('/')}/"
    for name, source in sources.items():
        places = [f"{place.rstrip('/')}/" for place in source.places]
        if any(wanted.startswith(place) or place.startswith(wanted) for place in places):
            yield name

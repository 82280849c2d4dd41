"""What a lock file records, and good copies of it: in DVC's cache, else in the checkout; each is hashed before use."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from tinygptv.ground.dvc import DIR, dvc_md5, listed_files, object_file
from tinygptv.ground.errors import DataError, UserError
from tinygptv.ground.yaml_files import read_yaml
from tinygptv.provenance.compare import Difference, file_difference


@dataclass(frozen=True, slots=True)
class Recorded:
    """A file or folder, and the md5 by which DVC knows its content."""

    path: str
    md5: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedStep:
    """A step's entry in the lock file."""

    name: str
    inputs: tuple[Recorded, ...]
    """Outputs of other steps; code and configuration come with the commit."""
    outputs: tuple[Recorded, ...]
    params: dict[str, dict[str, Any]]
    """File → key → value."""


def read_dvc_lock(path: Path) -> dict[str, LockedStep]:
    """The steps of a lock file, in its order.

    Raises:
        UserError: the file is missing, or is no lock file.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist; run the pipeline first, or name a lock file with --from")
    content = read_yaml(path)
    try:
        stages = {str(name): entry for name, entry in content["stages"].items()}
        outputs = {name: _recorded(entry.get("outs", ())) for name, entry in stages.items()}
        made = [item for items in outputs.values() for item in items]
        return {
            name: LockedStep(
                name=name,
                inputs=_inputs(_recorded(entry.get("deps", ())), made),
                outputs=outputs[name],
                params=entry.get("params", {}),
            )
            for name, entry in stages.items()
        }
    except (AttributeError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not a lock file of DVC ({error}); run the pipeline again") from None


def _inputs(deps: tuple[Recorded, ...], made: list[Recorded]) -> tuple[Recorded, ...]:
    """The outputs that a step reads; where it depends on a file of one, such as its view, the whole one."""
    outputs = {item.path: item for item in made}
    whole = {dep.path: dep for dep in deps if dep.path in outputs}
    viewed = {item.path: item for item in made for dep in deps if dep.path.startswith(f"{item.path}/")}
    return tuple((viewed | whole).values())


def _recorded(entries: Iterable[dict[str, Any]]) -> tuple[Recorded, ...]:
    return tuple(Recorded(str(entry["path"]), str(entry["md5"])) for entry in entries)


class NoCopyError(Exception):
    """Nothing with the recorded content is left; the message names it and where it was looked for."""


@dataclass(slots=True)
class Copies:
    """Where recorded content is looked for."""

    cache: Path
    places: tuple[Path, ...]
    """Checkouts whose files may stand in, each only where its digest is the recorded one."""
    damaged: dict[str, str] = field(default_factory=dict)
    """Path of a recorded file → what is wrong with its object in the cache."""
    _found: dict[Recorded, Path | None] = field(default_factory=dict)
    """What was looked for already, so that a large input of many steps is hashed once."""

    def restore(self, item: Recorded, target: Path) -> None:
        """Make ``target`` what the lock records. The cache is looked at even where ``target`` is so already.

        Raises:
            NoCopyError: nothing with this content is left.
        """
        files = [(file, self.good(file)) for file in self.files(item)]
        if digest(target) == item.md5:
            return
        remove(target)
        for file, source in files:
            if source is None:
                raise NoCopyError(self._not_found(file))
            place = target if file.path == item.path else target / PurePosixPath(file.path).relative_to(item.path)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, place)  # not a link: a step must not be able to write into the cache

    def damage_of(self, item: Recorded) -> list[Difference]:
        """What was found damaged among a folder's files, or of the file itself."""
        inside = f"{item.path}/"
        return [Difference(path, words) for path, words in self.damaged.items() if f"{path}/".startswith(inside)]

    def exists(self, item: Recorded) -> bool:
        """Whether there is anything to look at, good or not."""
        return object_file(self.cache, item.md5).is_file() or any((place / item.path).exists() for place in self.places)

    def files(self, item: Recorded) -> list[Recorded]:
        """The files of a folder, or the file itself.

        Raises:
            NoCopyError: the folder's list is lost.
        """
        if not item.md5.endswith(DIR):
            return [item]
        found = self._listed(item)
        if found is not None:
            return found
        for place in self.places:
            folder = place / item.path
            if digest(folder) == item.md5:
                names = sorted(path.relative_to(place).as_posix() for path in folder.rglob("*") if path.is_file())
                return [Recorded(name, dvc_md5(place / name)) for name in names]
        raise NoCopyError(self._not_found(item))

    def good(self, file: Recorded) -> Path | None:
        """A file with the recorded content; damage found on the way is kept in ``damaged``."""
        if file not in self._found:
            self._found[file] = self._look_for(file)
        return self._found[file]

    def _look_for(self, file: Recorded) -> Path | None:
        cached = object_file(self.cache, file.md5)
        if digest(cached) == file.md5:
            return cached
        found = next((path for place in self.places if digest(path := place / file.path) == file.md5), None)
        if cached.is_file():
            where = None if found is None else file_difference(found, cached, ("good", "cache"), Path(file.path).suffix)
            self.damaged[file.path] = f"{self._name(cached)} is damaged{f': {where}' if where else ''}"
        return found

    def _listed(self, item: Recorded) -> list[Recorded] | None:
        """What the cache lists for a folder, if the list is whole."""
        cached = object_file(self.cache, item.md5)
        if not cached.is_file():
            return None
        if dvc_md5(cached) + DIR != item.md5:
            self.damaged[item.path] = f"{self._name(cached)} is damaged (a folder's list of files)"
            return None
        files = listed_files(cached)
        for file in files:
            if file.outside:
                raise DataError(f"{cached} lists {file.path}, which lies outside of {item.path}; do not use it")
        return [Recorded(f"{item.path}/{file.path}", file.md5) for file in files]

    def _not_found(self, item: Recorded) -> str:
        cached = object_file(self.cache, item.md5)
        if cached.is_file():
            fix = f"remove {cached}, then `dvc pull` or run the step that makes it"
            return f"no good copy of {item.path} is left; {fix}"
        return f"{item.path} is neither in the cache nor in the checkout; run `dvc pull`, or the step that makes it"

    def _name(self, cached: Path) -> str:
        return f"cache object {cached.relative_to(self.cache).as_posix()}"


def digest(path: Path) -> str | None:
    """DVC's digest of a file or folder; None for what is not there, or is a folder without files."""
    try:
        return dvc_md5(path)
    except DataError:
        return None


def remove(path: Path) -> None:
    """Remove a file or folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)

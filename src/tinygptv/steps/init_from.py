"""What a profile starts from (its section ``init``): where it lies, and one digest of all that is taken of it.

``download``, which every ``dvc repro`` looks at, writes the digest down; ``backbones`` depends on that file, since DVC
itself sees nothing outside of a profile's own outputs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tinygptv.ground import digests
from tinygptv.ground.errors import DataError, UserError
from tinygptv.ground.file_names import IMAGE_ENCODER, LANGUAGE_MODEL, MODEL_CONFIG, TOKENIZER, TRAINED
from tinygptv.ground.files import canonical
from tinygptv.ground.names import LAST_STAGE
from tinygptv.ground.worktree import how_to_make, main_of, output_folders
from tinygptv.tracking import REGISTRY_SCHEME

if TYPE_CHECKING:
    from tinygptv.config import Init

BACKBONES = "backbones"
FILES = (IMAGE_ENCODER, LANGUAGE_MODEL, TOKENIZER)


@dataclass(frozen=True, slots=True)
class StepFiles:
    """Outputs of steps, of this project's own form."""

    backbones: Path
    stage: Path | None
    """None: the backbones alone."""

    def digests(self) -> dict[str, str]:
        """File → its digest."""
        files = [self.backbones / name for name in FILES] + ([self.stage / TRAINED] if self.stage else [])
        missing = [path for path in files if not path.is_file()]
        if missing:
            raise DataError(f"init.from: {missing[0]} is missing; `dvc checkout`, or the step that makes it, brings it")
        return {f"{path.parent.name}/{path.name}": digests.sha256(path) for path in files}


@dataclass(frozen=True, slots=True)
class ImportedFolder:
    """A Hugging Face folder of a whole model."""

    folder: Path

    def digests(self) -> dict[str, str]:
        """File → its digest."""
        files = {path.relative_to(self.folder).as_posix(): path for path in self.folder.rglob("*") if path.is_file()}
        return {name: digests.sha256(path) for name, path in sorted(files.items())}


@dataclass(frozen=True, slots=True)
class VersionFiles:
    """What a registered version was made of, by the digests of its lineage."""

    profile: str
    outputs: Mapping[str, str]
    """Step → DVC digest of its output."""

    def digests(self) -> dict[str, str]:
        """Step → DVC digest of its output."""
        return dict(self.outputs)


InitSource = StepFiles | ImportedFolder | VersionFiles


def find(root: Path, init: Init) -> InitSource:
    """Find what ``init.from`` names.

    Raises:
        UserError: it is not there, or holds no weights to go on from.
        PassingError: the registry cannot be reached just now.
    """
    if init.from_.startswith(REGISTRY_SCHEME):
        return _version(root, init.from_)
    if init.named_profile is not None:
        return _profile(root, *init.named_profile)
    places = [home / Path(init.from_).expanduser() for home in (root, main_of(root))]  # git brings no weights
    folder = next((place for place in places if place.is_dir()), places[-1])
    if (folder / TRAINED).is_file():
        return StepFiles(folder.parent / BACKBONES, folder)
    if (folder / LANGUAGE_MODEL).is_file():
        return StepFiles(folder, None)
    if (folder / MODEL_CONFIG).is_file():
        return ImportedFolder(folder)
    what = "holds neither a model nor a step's output" if folder.is_dir() else "does not exist"
    raise UserError(
        f"init.from: {folder} {what}; name a folder of `tinygptv import-checkpoint`, or take a published model with "
        "`backbones: {source: hub}`"
    )


def _profile(root: Path, profile: str, stage: str | None) -> StepFiles:
    def made(step: str) -> Path:
        found = next((folder for folder in output_folders(root, profile, step) if folder.is_dir()), None)
        if found is None:
            raise UserError(f"init.from: {profile} has no {step} here; run {how_to_make(root, profile, step)}")
        return found

    if stage is None:
        return StepFiles(made(BACKBONES), None)
    trained = made(stage)
    return StepFiles(trained.parent / BACKBONES, trained)  # of one place, or they would not fit each other


def _version(root: Path, address: str) -> VersionFiles:
    from tinygptv.tracking.registry import made_of

    profile, outputs = made_of(root, address)
    if not {BACKBONES, LAST_STAGE} <= outputs.keys():
        raise UserError(
            f"init.from: {address} is a package in 8 bits whose tags do not say of which weights it was made; name the "
            "profile, folder or version that has them in full precision"
        )
    return VersionFiles(profile, {step: outputs[step] for step in (BACKBONES, LAST_STAGE)})


@contextmanager
def opened(root: Path, source: StepFiles | VersionFiles) -> Iterator[StepFiles]:
    """The folders, as long as the block lasts. Read only.

    Raises:
        DataError: neither the checkout nor DVC's cache has what a version was made of.
    """
    if isinstance(source, StepFiles):
        yield source
        return
    from tinygptv.ground.materials import output

    with ExitStack() as held:
        folders = {
            step: held.enter_context(output(root, source.profile, step, md5)) for step, md5 in source.outputs.items()
        }
        yield StepFiles(folders[BACKBONES], folders[LAST_STAGE])


def init_digest(root: Path, init: Init | None) -> dict[str, str]:
    """What a profile starts from, for manifests: its name and the digest of all that is taken; empty for nothing.

    Raises:
        UserError: as of ``find``.
    """
    if init is None:
        return {}
    return named(init, find(root, init))


def named(init: Init, source: InitSource) -> dict[str, str]:
    """The same of what was found."""
    return {"from": init.from_, "sha256": hashlib.sha256(canonical(source.digests()).encode()).hexdigest()}

"""What training starts from (``--from``), and the profile whose model and settings go with it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tinygptv.config import Config, Init, Published
from tinygptv.config.profiles import read_config
from tinygptv.evaluation.ablations import changed, changes_file
from tinygptv.ground.errors import CheckpointError, ConfigError, UserError
from tinygptv.ground.file_names import MANIFEST, MODEL_CONFIG, TOKENIZER
from tinygptv.ground.files import read_json
from tinygptv.ground.worktree import how_to_make, output_folders
from tinygptv.ground.yaml_files import active_profile, profile_file, profile_names, read_yaml
from tinygptv.steps import init_from

if TYPE_CHECKING:
    from collections.abc import Callable

    from transformers import PreTrainedTokenizerFast

DEFAULT = "tiny/stage4"
"""Measured against tiny's backbones alone (docs/own_data.md)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Beginning:
    """A beginning."""

    init: str | None
    """``init.from``; None: the published backbones of the profile."""
    profile: str
    """Whose model and settings are taken."""
    config: Config
    tokenizer: PreTrainedTokenizerFast | None
    """None: it is not on this machine yet."""
    variant: str | None = None
    """Which of the paper's other backbones the profile takes in the place of its own (`configs/ablations/changes`)."""

    def __str__(self) -> str:
        if self.init is not None:
            return self.init
        other = f" with {self.variant}" if self.variant else ""
        return f"the published backbones of the profile {self.profile}{other}"


def find(root: Path, given: str | None) -> Beginning:
    """Find what ``--from`` names.

    Raises:
        UserError: it is not there, or no profile has its sizes.
        PassingError: the registry cannot be reached just now.
    """
    named = given if given is not None else DEFAULT
    if (hub := _published(root, named)) is not None:
        return hub
    init = _init(named)
    if init.named_profile is not None:
        _require_made(root, *init.named_profile)
    source = init_from.find(root, init)
    if isinstance(source, init_from.ImportedFolder):
        return _start(root, _absolute(named), _profile_of_folder(root, source.folder), source.folder)
    with init_from.opened(root, source) as made:
        if isinstance(source, init_from.VersionFiles):
            profile = source.profile
        elif init.named_profile is not None:
            profile = init.named_profile[0]
        else:
            profile = _profile_of_output(root, made.stage or made.backbones)
        address = named if init.named_profile or isinstance(source, init_from.VersionFiles) else _absolute(named)
        return _start(root, address, profile, made.backbones)


def _start(root: Path, init: str | None, profile: str, tokenizer: Path | None) -> Beginning:
    path = profile_file(root, profile)
    found = None
    if tokenizer is not None and (tokenizer / TOKENIZER).is_file():
        from tinygptv.model.processing import read_tokenizer

        found = read_tokenizer(tokenizer)
    return Beginning(init=init, profile=profile, config=read_config(path), tokenizer=found)


def _init(named: str) -> Init:
    from pydantic import ValidationError

    try:
        return Init.model_validate({"from": named})
    except ValidationError:
        raise UserError(
            f"--from {named}: name a profile, PROFILE/stage4, a folder with a slash in its name, models:/NAME@ALIAS, "
            "or the hub's name of backbones that a profile takes"
        ) from None


def _absolute(named: str) -> str:
    """A folder from wherever the user is; profiles begin at the checkout."""
    return str(Path(named).expanduser().absolute())


def _published(root: Path, named: str) -> Beginning | None:
    """A profile that takes backbones of this name; None where none does.

    What a profile takes itself comes first, then what it takes as one of its variants.
    """
    if "/" not in named or Path(named).expanduser().exists():
        return None
    for profile in profile_names(root / "configs"):
        try:
            backbones = read_config(profile_file(root, profile)).backbones
        except ConfigError:  # of another profile: told where it is used
            continue
        if isinstance(backbones, Published) and named in (backbones.language_model, backbones.image_encoder):
            return _start(root, None, profile, None)
    for profile in profile_names(root / "configs"):
        path = changes_file(root, profile)
        for variant, changes in (read_yaml(path) if path.is_file() else {}).items():
            if named in (changes.get("backbones.language_model"), changes.get("backbones.image_encoder")):
                config = changed(root, profile, changes, f"{path}: {variant}")
                return Beginning(init=None, profile=profile, config=config, tokenizer=None, variant=variant)
    return None


def _require_made(root: Path, profile: str, stage: str | None) -> None:
    """Say how a profile is made that has not run yet, before anything else is looked at."""
    profile_file(root, profile)
    step = stage or init_from.BACKBONES
    if not any(folder.is_dir() for folder in output_folders(root, profile, step)):
        how = "`make demo` first" if profile == active_profile(root) else how_to_make(root, profile, step)
        raise UserError(f"--from {profile}{f'/{stage}' if stage else ''}: {profile} is not trained yet; run {how}")


def _profile_of_output(root: Path, folder: Path) -> str:
    """The profile whose model a step's output is of, by its manifest."""
    manifest = read_json(folder / MANIFEST) if (folder / MANIFEST).is_file() else {}
    sizes = manifest.get("config", manifest).get("model", {})
    from tinygptv.model.init_files import check_sizes

    return _fitting(root, folder, lambda config: check_sizes(config.model, sizes, (), str(folder)))


def _profile_of_folder(root: Path, folder: Path) -> str:
    """The profile whose model an imported folder is of, by its ``config.json``."""
    from tinygptv.model.init_files import check_configuration
    from tinygptv.model.profile import from_profile

    theirs = read_json(folder / MODEL_CONFIG)

    def check(config: Config) -> None:
        check_configuration(config.model, from_profile(config.model, 0).to_dict(), theirs, str(folder))

    return _fitting(root, folder, check)


def _fitting(root: Path, folder: Path, check: Callable[[Config], None]) -> str:
    for profile in profile_names(root / "configs"):
        try:
            check(read_config(profile_file(root, profile)))
        except (CheckpointError, ConfigError):
            continue
        return profile
    raise UserError(f"--from {folder}: no profile in configs/ has its sizes; write one whose `model` has them")

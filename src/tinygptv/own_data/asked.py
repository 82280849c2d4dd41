"""What ``tinygptv data check`` is asked about: a profile's data sets, or files that are of no profile yet."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tinygptv.config.profiles import read_profile
from tinygptv.ground.errors import UserError, meant
from tinygptv.ground.names import LAST_STAGE, STAGES
from tinygptv.ground.yaml_files import active_profile, profile_names
from tinygptv.own_data.files import check_options, data_set_of, exists, form_at, place_of

if TYPE_CHECKING:
    from tinygptv.config import Config, DataSet

ANY_SHARE = 1.0
"""Records that may be left out of files without a profile: ``tinygptv new`` writes the share that it found."""
USUAL = "tiny"
"""Whose tokenizer and last stage measure files without a profile; ``tinygptv new`` starts from it."""


@dataclass(frozen=True, slots=True)
class DataToCheck:
    """Data sets, and the stages that they are looked at for."""

    profile: str
    config: Config
    sets: Mapping[str, DataSet]
    most_rejected: float
    lines: tuple[str, ...] = ()
    """What to say of them first."""


def find(root: Path, given: str, images: str | Path | None, form: str | None) -> DataToCheck:
    """Find what a user names.

    Args:
        root: the checkout.
        given: a profile, or the path or address of a file or folder.
        images: of a path: the folder of its pictures.
        form: of a path: the form of its files.

    Raises:
        UserError: it is neither, or no form or several fit its files.
    """
    names = profile_names(root / "configs")
    if given in names:
        if images is not None or form is not None:
            raise UserError(f"{given} is a profile, which says `images` and `format` itself; leave the option out")
        config = read_profile(root, given).config
        return DataToCheck(given, config, config.data, config.shards.max_rejected)
    if not given or not exists(given):
        raise UserError(
            f"{given or 'an empty name'} is neither a profile ({', '.join(names)}) nor a file or folder"
            f"{meant(given, names)}"
        )
    check_options(images, form)
    return _files(root, place_of(given, root), place_of(images, root) if images is not None else None, form)


def _files(root: Path, path: Path, images: Path | None, form: str | None) -> DataToCheck:
    """Files without a profile, looked at as the last stage would train them, with limits of the model alone."""
    kind, found = form_at(path, images, form)
    settings = data_set_of(root, kind, found, None)
    usual = USUAL if USUAL in profile_names(root / "configs") else active_profile(root)
    base = read_profile(root, usual).config
    name = re.sub(r"\W+", "_", path.stem, flags=re.ASCII).strip("_")[:40]
    name = name if name[:1].isalpha() else f"data_{name}".rstrip("_")
    longest = base.model.text.max_position_embeddings
    last = base.stage(LAST_STAGE)
    limits = {"mixture": {name: 1.0}, "max_sequence_tokens": longest, "max_answer_tokens": longest, "batch_size": 1}
    stages = {stage: base.stage(stage).model_copy(update={"epochs": 0}) for stage in STAGES}
    stages[LAST_STAGE] = last.model_copy(update={**limits, "micro_batch_size": 1, "epochs": 1})
    config = base.model_copy(update={**stages, "data": {name: settings}})
    lines = (f"{path.name}: {kind}, for {found.why}", f"Lengths are those of {usual}'s model.\n")
    return DataToCheck(usual, config, config.data, ANY_SHARE, lines)

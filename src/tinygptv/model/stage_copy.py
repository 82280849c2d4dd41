"""A stage of any profile as one of another, byte for byte: backbones and checkpoint, for the next to go on from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tinygptv.ground.file_names import HISTORY, MANIFEST, TRAINED
from tinygptv.ground.files import link_or_copy, write_json
from tinygptv.model.authors.folder import refuse_existing, whole_or_absent
from tinygptv.model.authors.stage import BACKBONES
from tinygptv.model.init_files import check_trained, link_backbones
from tinygptv.model.stage_checkpoint import read_manifest
from tinygptv.model.weights import describe_backbones

if TYPE_CHECKING:
    from tinygptv.config.profiles import Profile


def copy_stage(source: Path, data: Path, stage: str, profile: Profile) -> None:
    """Write ``<data>/backbones`` and ``<data>/<stage>``, as if the profile's own steps had made them.

    Args:
        source: the output of the same stage of any profile, with that of ``backbones`` beside it.
        data: the profile's folder of data.
        stage: the stage.
        profile: must have the sizes and adapters.

    Raises:
        CheckpointError: the checkpoint is of another stage or model, or damaged; or one of the folders exists.
    """
    for folder in (data / BACKBONES, data / stage):
        refuse_existing(folder)
    read_manifest(source, stage)
    check_trained(source.parent / BACKBONES, source, profile.config.model)
    with whole_or_absent(data / BACKBONES) as folder:
        link_backbones(source.parent / BACKBONES, folder)
        describe_backbones(folder, profile.config.model.model_dump(mode="json"), {})
    with whole_or_absent(data / stage) as folder:
        for name in (TRAINED, MANIFEST):
            link_or_copy(source / name, folder / name)
        write_json(folder / HISTORY, [])

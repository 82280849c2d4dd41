"""The files that the authors published, in one folder under the names that they have there, as models of a profile.

Sizes, heads, adapters, prompt and resolution of a stage are the profile's; a file that does not fit them is refused.
Source: the authors' README; docs/checkpoints.md says where each file is to be had.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from tinygptv.ground.digests import DigestMemory
from tinygptv.ground.errors import CheckpointError
from tinygptv.ground.files import canonical, sha256_file
from tinygptv.ground.names import STAGES

if TYPE_CHECKING:
    from tinygptv.config import Config
    from tinygptv.model.inference import VisionLanguageModel

PHI = "phi-2"
"""A folder with the language model, in whichever layout, and its tokenizer."""
BASE = {"phi": PHI, "vision": "eva_vit_g.pth", "qformer": "blip2_pretrained_flant5xxl.pth", "tokenizer": PHI}
CHECKPOINTS = {stage: f"TinyGPT-V_for_Stage{number}.pth" for number, stage in enumerate(STAGES, start=1)}
SAFE = ".safetensors"
"""An ending that any of the files may have instead."""
IMPORT = Path(__file__).parents[1] / "model" / "authors"
"""The code between their files and the model."""


@dataclass(frozen=True, slots=True)
class AuthorsFiles:
    """What a folder has of them."""

    base: Mapping[str, Path]
    """Part, as ``import_authors`` calls it → file or folder."""
    checkpoints: Mapping[str, Path]
    """Stage → what it trained; without those that are not there."""

    @property
    def missing(self) -> tuple[str, ...]:
        """Files of the stages that are not there."""
        return tuple(name for stage, name in CHECKPOINTS.items() if stage not in self.checkpoints)


def find_published(folder: Path) -> AuthorsFiles:
    """The files of a folder.

    Raises:
        CheckpointError: names those that are missing: of the base any, of the stages all.
    """
    base = {part: path for part, name in BASE.items() if (path := _there(folder / name)) is not None}
    checkpoints = {stage: path for stage, name in CHECKPOINTS.items() if (path := _there(folder / name)) is not None}
    missing = list(dict.fromkeys(name for part, name in BASE.items() if part not in base))
    if not checkpoints:
        missing.append(f"all of {', '.join(CHECKPOINTS.values())}")
    if missing:
        raise CheckpointError(
            f"{folder} lacks {'; '.join(missing)}; put them there under these names (docs/checkpoints.md says from "
            "where), or name their folder by --checkpoints"
        )
    return AuthorsFiles(base, checkpoints)


def _there(path: Path) -> Path | None:
    return next((found for found in (path, path.with_suffix(SAFE)) if found.exists()), None)


def published_digests(files: AuthorsFiles) -> dict[str, str]:
    """File, from the folder on → its SHA-256; files that stayed as they were are read once."""
    paths = dict.fromkeys((*files.base.values(), *files.checkpoints.values()))
    every = [(path.parent, one) for path in paths for one in (sorted(path.rglob("*")) if path.is_dir() else [path])]
    with DigestMemory.opened() as memory:
        return {one.relative_to(home).as_posix(): memory.sha256(one)[1] for home, one in every if one.is_file()}


def published_identity(config: Config, stage: str, files: AuthorsFiles, digests: Mapping[str, str]) -> str:
    """Digest of all that makes the model that ``open_published`` opens, but for the section `runtime`."""
    names = {path.name for path in (*files.base.values(), files.checkpoints[stage])}
    settings = config.stage(stage)
    told = [
        {file: digest for file, digest in digests.items() if file.split("/")[0] in names},
        config.model.model_dump(mode="json"),
        settings.image_size,
        settings.prompt.model_dump(),
        {path.name: sha256_file(path) for path in sorted(IMPORT.glob("*.py"))},
    ]
    return sha256(canonical(told).encode()).hexdigest()


def open_published(config: Config, stage: str, files: AuthorsFiles) -> VisionLanguageModel:
    """A stage's model, adapters apart, in ``runtime.dtype`` as the profile's own models answer.

    Raises:
        CheckpointError: a file is damaged, or is not of the profile's model.
    """
    import torch

    from tinygptv.ground import runtime
    from tinygptv.model.assembly import for_inference
    from tinygptv.model.authors.importer import import_authors
    from tinygptv.model.authors.stage import check_profile
    from tinygptv.model.backbones import formats_of
    from tinygptv.model.inference import VisionLanguageModel

    settings, sizes, base = config.stage(stage), config.model, files.base
    model, processor, _ = import_authors(
        phi=base["phi"],
        vision=base["vision"],
        qformer=base["qformer"],
        tokenizer=base["tokenizer"],
        checkpoint=files.checkpoints[stage],
        image_size=settings.image_size,
        heads={
            "text": sizes.text.num_attention_heads,
            "vision": sizes.vision.num_attention_heads,
            "qformer": sizes.qformer.num_attention_heads,
        },
        lora_alpha=sizes.lora.alpha,
        prompt=settings.prompt,
    )
    check_profile(model, config, stage, str(files.checkpoints[stage]))
    dtype = getattr(torch, config.runtime.dtype)
    formats = formats_of(model.image_encoder, dtype)
    for name, parameter in model.image_encoder.named_parameters():
        parameter.data = parameter.data.to(formats[name])
    ready = for_inference(model, dtype).to(runtime.resolve_device(config.runtime.device))
    return VisionLanguageModel(ready, processor)

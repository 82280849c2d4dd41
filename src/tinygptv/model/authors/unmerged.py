"""The tensors of a model's folder, adapters apart again where it was imported."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tinygptv.ground.errors import CheckpointError
from tinygptv.ground.file_names import MODEL_CONFIG
from tinygptv.ground.files import read_json
from tinygptv.model.authors.foreign import open_tensors
from tinygptv.model.authors.report import REPORT, ImportReport

if TYPE_CHECKING:
    import torch

AUTHORS = "authors.safetensors"
UNMERGED = "unmerged/"


@dataclass(frozen=True, slots=True)
class Unmerged:
    """A whole model's state."""

    tensors: dict[str, torch.Tensor]
    """By our names; memory-mapped."""
    kept: dict[str, torch.Tensor]
    """What the model does not hold, by file and the authors' name (``authors/building.py``)."""
    report: ImportReport | None
    """None: the folder was not imported."""


def open_unmerged(folder: Path) -> Unmerged:
    """Open a folder whose files are known to be whole.

    Raises:
        CheckpointError: one is missing or damaged, or the report is of another version.
    """
    tensors = dict(open_tensors(folder))
    if not (folder / REPORT).is_file():
        return Unmerged(tensors, {}, None)
    kept = dict(open_tensors(folder / AUTHORS))
    before = {name: kept.pop(name) for name in list(kept) if name.startswith(UNMERGED)}
    tensors |= {name.removeprefix(UNMERGED): tensor for name, tensor in before.items()}
    return Unmerged(tensors, kept, ImportReport.from_json(read_json(folder / REPORT), str(folder / REPORT)))


def refuse_8bit(folder: Path) -> None:
    """Only full precision can be gone on from.

    Raises:
        CheckpointError: the folder is in 8 bits.
    """
    if "quantization_config" in read_json(folder / MODEL_CONFIG):
        raise CheckpointError(f"{folder} is in 8 bits, which cannot be undone; take the model that was quantized")

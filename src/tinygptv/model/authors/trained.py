"""What the authors' runner saved of a stage: adapters, norms, projections; in early files the Q-Former too.

Source: the authors' ``runner_base.py`` (_save_checkpoint: all that trains, and the buffers).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tinygptv.config import Lora
from tinygptv.ground.errors import CheckpointError
from tinygptv.model.adapters import patterns
from tinygptv.model.authors import names
from tinygptv.model.authors.accounts import gather, refuse
from tinygptv.model.authors.convert import check_position_ids
from tinygptv.model.language import AUTHORS

if TYPE_CHECKING:
    import torch

    from tinygptv.model.authors.foreign import ForeignTensors

LORA_DROPOUT = 0.05
"""Of the authors' training; no tensor tells it, and answers do not depend on it. Source: ``minigpt_v2.py``."""
ALWAYS_TRAINED = ("projection", "input_norm", "qk_norm", "rms_norm", "final_norm")
"""Groups of parameters that every checkpoint of the authors holds; adapters are in those of stages 2 to 4."""
PROJECTIONS = tuple(f"projector.linear_{n}.{p}" for n in (1, 2) for p in ("weight", "bias"))


@dataclass(slots=True)
class Trained:
    """A checkpoint by our names."""

    tensors: dict[str, torch.Tensor]
    mapped: dict[str, str]
    """Their names, as ``checkpoint/…``, to ours."""
    ignored: dict[str, str]
    """Their names, as ``checkpoint/…``, to the reason."""
    lora: Lora | None

    def theirs(self, ours: str) -> str:
        """The name in this checkpoint of a tensor of ours, present or not."""
        if names.translate(ours, names.reverse(names.CHECKPOINT)) is None:
            return ours
        return names.checkpoint_name(ours, lora=self.lora is not None)


def read_checkpoint(source: ForeignTensors, base: Iterable[str], alpha: float) -> Trained:
    """Read a checkpoint, and see that it has all that the authors train.

    A norm that it lacked would silently keep the base's value, so that a part of a checkpoint is refused.

    Args:
        source: the opened file.
        base: our names of the base tensors.
        alpha: scale of the adapters times their rank.

    Raises:
        CheckpointError: tensors are missing or unknown, or one is there twice.
    """
    origin = str(source.path)
    plain = [(name, names.plain_checkpoint_name(name)) for name in source]
    found = names.match(dict.fromkeys(known for _, known in plain), names.CHECKPOINT, names.IGNORED_OF_CHECKPOINT)
    refuse(origin, unknown=[name for name, known in plain if known in found.unknown])
    check_position_ids(origin, source)
    mapped = {name: found.mapped[known] for name, known in plain if known in found.mapped}
    tensors = {target: source[parts[""]] for target, parts in gather(origin, mapped).items()}
    trained = Trained(
        tensors,
        {f"checkpoint/{name}": target for name, target in mapped.items()},
        {f"checkpoint/{name}": found.ignored[known] for name, known in plain if known in found.ignored},
        lora_settings(origin, tensors, alpha),
    )
    required = [name for name in (*PROJECTIONS, *base) if in_groups(name, ALWAYS_TRAINED)]
    refuse(origin, missing=[trained.theirs(name) for name in required if name not in tensors])
    return trained


def in_groups(name: str, groups: Iterable[str]) -> bool:
    """Whether a tensor of ours belongs to one of the groups of parameters."""
    named = patterns(AUTHORS)
    return any(re.fullmatch(named[group], name) for group in groups)


def lora_settings(origin: str, tensors: dict[str, torch.Tensor], alpha: float) -> Lora | None:
    """Rank of the adapters, from the first of them; None without any.

    Raises:
        CheckpointError: the alpha is not a whole number above 0, or the adapter is not a matrix.
    """
    first = next((tensor for name, tensor in tensors.items() if name.endswith(".lora_A.weight")), None)
    if first is None:
        return None
    if alpha < 1 or alpha != int(alpha):
        raise CheckpointError(f"lora_alpha {alpha} is not a whole number of at least 1; the authors' is 16")
    if first.ndim != 2 or not first.shape[0]:
        raise CheckpointError(f"{origin}: an adapter has shape {tuple(first.shape)}, which tells no rank")
    return Lora(rank=first.shape[0], alpha=int(alpha), dropout=LORA_DROPOUT)

"""Models that can be asked: a stage's, and that which stage 1 begins with; packages: ``evaluation/package.py``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tinygptv.evaluation.asking import kept_open
from tinygptv.evaluation.presets import stage_asking
from tinygptv.evaluation.stages import open_stage, open_start, stage_identity, start_identity
from tinygptv.ground.names import STAGES

if TYPE_CHECKING:
    from tinygptv.config import Config, Preset
    from tinygptv.evaluation.presets import Asking
    from tinygptv.model.inference import VisionLanguageModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A model, closed: another process may open it, too."""

    identity: str
    """Digest of all that makes it."""
    open: Callable[[], VisionLanguageModel]
    how: Callable[[Preset], Asking]
    """How it is asked in a preset."""

    @contextmanager
    def kept_open(self) -> Iterator[Subject]:
        """The same for a block that asks several times: it is opened once, when it is needed."""
        with kept_open(self.open) as once:
            yield replace(self, open=once)


def stage_subject(config: Config, stage: str, backbones: Path, checkpoint: Path) -> Subject:
    """The model as a stage left it; arguments and errors as of ``stage_identity``."""
    return Subject(
        identity=stage_identity(config, stage, backbones, checkpoint),
        open=partial(open_stage, config, stage, backbones, checkpoint),
        how=partial(stage_asking, config, stage),
    )


def start_subject(config: Config, seed: int, backbones: Path) -> Subject:
    """The model that stage 1 begins with, asked as stage 1 is; arguments and errors as of ``start_identity``."""
    return Subject(
        identity=start_identity(config, seed, backbones),
        open=partial(open_start, config, seed, backbones),
        how=partial(stage_asking, config, STAGES[0]),
    )

"""The configuration's schema: every key of ``configs/<profile>.yaml``, typed, described and checked at the door.

No key has a default here: a setting that affects results lives in the configuration file, in one place.
``docs/configuration.md`` is generated from this file.
"""

from __future__ import annotations

from typing import Self, get_args

from pydantic import Field, model_validator

from tinygptv.config.backbones import (
    Backbones,
    Pretrained,
    Pretraining,
    Published,
    TextPretraining,
    VisionPretraining,
)
from tinygptv.config.base import DataSet, Part, Section, Task
from tinygptv.config.data import Download, EasyVQA, Features, Loader, PaperSets, Shards
from tinygptv.config.evaluation import Evaluate, Gate, Quantize, Register
from tinygptv.config.model import Lora, Model, QFormer, Runtime, Text, Vision
from tinygptv.config.training import Prompt, Schedule, Stage
from tinygptv.ground.names import STAGES

__all__ = [
    "Backbones",
    "Config",
    "DataSet",
    "Download",
    "EasyVQA",
    "Evaluate",
    "Features",
    "Gate",
    "Loader",
    "Lora",
    "Model",
    "PaperSets",
    "Part",
    "Pretrained",
    "Pretraining",
    "Prompt",
    "Published",
    "QFormer",
    "Quantize",
    "Register",
    "Runtime",
    "Schedule",
    "Section",
    "Shards",
    "Stage",
    "Task",
    "Text",
    "TextPretraining",
    "Vision",
    "VisionPretraining",
]


class Config(Section):
    """A profile: `configs/<profile>.yaml`."""

    runtime: Runtime
    model: Model
    download: Download = Field(discriminator="source")
    shards: Shards
    backbones: Backbones = Field(discriminator="source")
    features: Features
    loader: Loader
    stage1: Stage
    stage2: Stage
    stage3: Stage
    stage4: Stage
    evaluate: Evaluate
    quantize: Quantize
    register_: Register = Field(alias="register")

    @model_validator(mode="after")
    def _stages_fit_the_features(self) -> Self:
        for name in STAGES:
            size = self.stage(name).image_size
            if size not in self.features.image_sizes:
                raise ValueError(
                    f"{name}.image_size: {size} is not among features.image_sizes {self.features.image_sizes}"
                )
            self._check_parts(name)
            self._check_mixture(name)
        return self

    @model_validator(mode="after")
    def _the_tower_has_a_qformer(self) -> Self:
        if self.model.vision.tower == "clip" and isinstance(self.backbones, Published):
            raise ValueError(
                "model.vision.tower: the published Q-Former was trained on eva; clip needs backbones.source pretrain"
            )
        return self

    def _check_parts(self, name: str) -> None:
        text = self.model.text
        for part, present in (("qk_norm", text.qk_norm), ("rms_norm", text.rms_norm)):
            if part in self.stage(name).trainable and not present:
                raise ValueError(f"{name}.trainable: names {part}, but model.text.{part} is false")

    def _check_mixture(self, name: str) -> None:
        of_paper = set(get_args(DataSet))
        for entry in self.stage(name).mixture:
            if (entry in of_paper) != isinstance(self.download, PaperSets):
                raise ValueError(f"{name}.mixture: {entry} does not come from download.source {self.download.source}")

    def stage(self, name: str) -> Stage:
        """The section of a training stage."""
        section = getattr(self, name)
        assert isinstance(section, Stage)
        return section

"""The configuration's schema: every key of ``configs/<profile>.yaml``, typed, described and checked at the door.

A setting that affects results lives in the configuration file, in one place: no key has a default here but those that
are younger than manifests, whose absence means what it did.
``docs/configuration.md`` is generated from this file.
"""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from tinygptv.config.backbones import (
    TOWERS_OF,
    Backbones,
    Pretrained,
    Pretraining,
    Published,
    Taken,
    TextPretraining,
    VisionPretraining,
)
from tinygptv.config.base import Family, Part, Preset, Section, Task
from tinygptv.config.benchmarks import BY_TASK, reported_as
from tinygptv.config.data import DataSet, Entry, Features, Loader, Shards, check_sets, parse_entry
from tinygptv.config.evaluation import Evaluate, Gate, Quantize, Register
from tinygptv.config.init import Init
from tinygptv.config.model import Lora, Model, QFormer, Runtime, Text, Vision
from tinygptv.config.training import Prompt, Schedule, Stage, Validation
from tinygptv.ground.names import STAGES
from tinygptv.ground.score_code import score_code

__all__ = [
    "Backbones",
    "Config",
    "DataSet",
    "Entry",
    "Evaluate",
    "Family",
    "Features",
    "Gate",
    "Init",
    "Loader",
    "Lora",
    "Model",
    "Part",
    "Preset",
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
    "Taken",
    "Task",
    "Text",
    "TextPretraining",
    "Validation",
    "Vision",
    "VisionPretraining",
    "parse_entry",
]


class Config(Section):
    """A profile: `configs/<profile>.yaml`."""

    runtime: Runtime
    model: Model
    data: dict[str, DataSet]
    shards: Shards
    init: Init | None = None
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
    def _sets_are_known(self) -> Self:
        check_sets(self.data)
        for dataset in self.evaluate.benchmarks:
            self._check_set("evaluate.benchmarks", dataset)
        if isinstance(self.backbones, Pretrained):
            for dataset in self.backbones.data:
                self._check_set("backbones.data", dataset)
        return self

    @model_validator(mode="after")
    def _the_gate_is_asked(self) -> Self:
        asked = [name for dataset in self.evaluate.benchmarks for name in self._reported(dataset)]
        for name in self.register_.gate.min_value:
            if name not in asked:
                raise ValueError(
                    f"register.gate: names {name}, which nothing asks; evaluate.benchmarks gives "
                    f"{', '.join(asked) or 'nothing'}"
                )
        return self

    @model_validator(mode="after")
    def _starts_from_one_thing(self) -> Self:
        if (self.init is not None) != isinstance(self.backbones, Taken):
            source = self.backbones.source
            raise ValueError(
                f"init: needs `backbones: {{source: init}}`, not source {source}"
                if self.init is not None
                else "init: is missing, but backbones.source is init; write `init: {from: …}`"
            )
        return self

    @model_validator(mode="after")
    def _stages_fit(self) -> Self:
        for name in STAGES:
            self._check_parts(name)
            self._check_mixture(name)
        return self

    @model_validator(mode="after")
    def _the_tower_has_a_qformer(self) -> Self:
        if isinstance(self.backbones, Published):
            encoder, tower = self.backbones.image_encoder, self.model.vision.tower
            if (trained_on := TOWERS_OF.get(encoder, tower)) != tower:
                raise ValueError(
                    f"model.vision.tower: the Q-Former of {encoder} was trained on {trained_on}, not on {tower}; "
                    f"set backbones.image_encoder to {' or '.join(n for n, t in TOWERS_OF.items() if t == tower)}"
                )
        return self

    def _reported(self, dataset: str) -> list[str]:
        """What reports may call the records of a data set that is asked."""
        tasks = BY_TASK if self.data[dataset].benchmark is None else (None,)
        return [reported_as(dataset, task) for task in tasks]

    def _check_parts(self, name: str) -> None:
        text = self.model.text
        for part, present in (("qk_norm", text.qk_norm), ("rms_norm", text.rms_norm)):
            if part in self.stage(name).trainable and not present:
                raise ValueError(f"{name}.trainable: names {part}, but model.text.{part} is false")

    def _check_mixture(self, name: str) -> None:
        for entry in self.stage(name).mixture:
            self._check_set(f"{name}.mixture", parse_entry(entry).dataset)

    def _check_set(self, key: str, dataset: str) -> None:
        if dataset not in self.data:
            raise ValueError(f"{key}: names the data set {dataset}, but `data` has {', '.join(self.data)}")

    @property
    def image_sizes(self) -> tuple[int, ...]:
        """The resolutions of all stages, in pixels of a side, in ascending order."""
        return tuple(sorted({self.stage(name).image_size for name in STAGES}))

    @property
    def uses(self) -> dict[str, dict[str, list[str]]]:
        """Which steps use which data sets; the weights of a mixture do not count.

        ``sets``: step → those whose training split it uses; ``cached``: stage → those whose cached features it reads;
        ``held_out``: step → those whose held-out part it uses, where a stage looks at one.
        """
        stages = {  # without epochs a stage uses none
            name: {parse_entry(entry).dataset for entry in self.stage(name).mixture if self.stage(name).steps}
            for name in STAGES
        }
        standins = self.backbones.data if isinstance(self.backbones, Pretrained) else ()
        every = {**stages, "backbones": set(standins), "features": set().union(*stages.values())}
        looked_at = {name: sorted(names) for name, names in stages.items() if names and self.stage(name).validation}
        if encoded := sorted({dataset for name in looked_at for dataset in self.cached_sets(name)}):
            looked_at["features"] = encoded
        uses = {
            "sets": {step: sorted(names) for step, names in every.items()},
            "cached": {stage: list(self.cached_sets(stage)) for stage in STAGES},
        }
        return {**uses, "held_out": looked_at} if looked_at else uses

    @property
    def scored(self) -> dict[str, str]:
        """Stage whose looks ask questions → digest of the code that says what the answers count."""
        looks = {name: self.stage(name).validation for name in STAGES if self.stage(name).steps}
        asking = [name for name, validation in looks.items() if validation is not None and validation.questions]
        return dict.fromkeys(asking, score_code()) if asking else {}

    def cached_sets(self, name: str) -> tuple[str, ...]:
        """The data sets of which a stage reads cached features, sorted; none where it trains nothing."""
        stage = self.stage(name)
        if stage.features != "cached" or not stage.steps:
            return ()
        return tuple(sorted({parse_entry(entry).dataset for entry in stage.mixture}))

    def stage(self, name: str) -> Stage:
        """The section of a training stage."""
        section = getattr(self, name)
        assert isinstance(section, Stage)
        return section

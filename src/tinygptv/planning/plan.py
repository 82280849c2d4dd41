"""The plan of a profile: what each stage needs, whether a device has it, and which change of the profile would fit.

Functions of the configuration alone. ``steps/train.py`` asks ``check`` before it loads anything; ``tinygptv plan``
shows the whole.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tinygptv.config import Config, Runtime, Stage
from tinygptv.ground.errors import UserError
from tinygptv.ground.names import LAST_STAGE, STAGES
from tinygptv.planning.compute import PEAK_TFLOPS, Compute, encoder_forward, largest_batch, stage_compute
from tinygptv.planning.data import Counted, SetPlan, Way, cheaper_way, set_plans
from tinygptv.planning.memory import (
    NOTHING,
    DiskUse,
    StageMemory,
    StepMemory,
    disk,
    other_steps,
    stage_memory,
)
from tinygptv.planning.sizes import Sizes, measure

if TYPE_CHECKING:
    from tinygptv.planning.dry_run import Device
    from tinygptv.planning.published import ToFetch

GB = 10**9
"""Decimal, as the makers of devices count: a card of 24 GB has a little more, so a plan that fits, fits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Other values of the configuration, and the peak that a stage would have with them."""

    settings: dict[str, Any]
    """Key, such as ``stage3.gradient_checkpointing``, to its value."""
    peak: int
    fits: bool

    def __str__(self) -> str:
        return ", ".join(f"{key}: {str(value).lower()}" for key, value in self.settings.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class StagePlan:
    """One training stage."""

    name: str
    samples: int
    """Sequences of a forward pass."""
    tokens: int
    """Tokens of the longest sequence."""
    parameters: int
    """In memory, without the image encoder."""
    trainable: int
    memory: StageMemory
    compute: Compute
    hours: dict[str, float]
    """Device to hours; empty in float32, for which the devices' peaks say nothing."""
    fits: bool
    changes: tuple[Change, ...]
    """Where it does not fit: each lever alone, then, if none is enough, several together."""
    features: Way
    """Where its image features come from."""
    cheaper: Way | None
    """The way with fewer operations; None before ``shards`` has counted the images."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A profile on a device."""

    profile: str
    dtype: str
    device: Device
    capacity: int
    """Bytes of the device."""
    parameters: dict[str, int]
    """Part of the model to its parameters."""
    stages: tuple[StagePlan, ...]
    steps: tuple[StepMemory, ...]
    sets: tuple[SetPlan, ...]
    disk: tuple[DiskUse, ...]
    to_fetch: ToFetch | None
    """Published data that are not there yet; None where the profile has none."""
    encoder_forward: dict[int, float]
    """Image size to the operations of image tower and Q-Former for one image."""

    @property
    def fits(self) -> bool:
        """Whether every training stage fits."""
        return all(stage.fits for stage in self.stages)


def make_plan(
    config: Config,
    profile: str,
    device: Device,
    capacity: int,
    counted: Mapping[str, Counted],
    to_fetch: ToFetch | None = None,
) -> Plan:
    """Plan all steps of a profile.

    Args:
        config: the profile.
        profile: its name.
        device: ``cuda`` or ``cpu``; they keep different things.
        capacity: bytes of the device.
        counted: data set → what its shards hold or is published of it, where that is known.
        to_fetch: published data that are not there yet.
    """
    sizes = measure(config)
    sets = set_plans(config, counted)
    counts = {
        "image encoder": sizes.image_encoder.parameters,
        "projections": sizes.projections.parameters,
        "language model": sizes.language_model.parameters,
        "adapters": sizes.stages[LAST_STAGE].adapters,
    }
    return Plan(
        profile=profile,
        dtype=config.runtime.dtype,
        device=device,
        capacity=capacity,
        parameters=counts,
        stages=tuple(_stage_plan(config, name, sizes, device, capacity, sets) for name in STAGES),
        steps=other_steps(config, sizes),
        sets=sets,
        disk=disk(config, sizes),
        to_fetch=to_fetch,
        encoder_forward={size: encoder_forward(config, size) for size in config.image_sizes},
    )


def check(config: Config, name: str, device: Device, capacity: int) -> None:
    """Refuse a stage that the device cannot hold.

    Args:
        config: the profile.
        name: the stage.
        device: ``cuda`` or ``cpu``.
        capacity: bytes of the device that are free.

    Raises:
        UserError: the plan is larger than the device; names both, and the change that would fit.
    """
    sizes = measure(
        config, name
    )  # without the later stages: PEFT, which stage 1 does not need, takes seconds to import
    peak = stage_memory(config, name, sizes, device).peak
    if peak <= capacity:
        return
    found = _changes(config, name, sizes, device, capacity)
    fitting = next((change for change in found if change.fits), None)
    if fitting:
        fix = f"set {fitting} in the profile ({gigabytes(fitting.peak)})"
    else:
        least = min([peak, *(change.peak for change in found)])
        fix = f"no setting makes it smaller than {gigabytes(least)}, so take a larger device"
    free = gigabytes(capacity)
    has = f"the GPU has {free} free" if device == "cuda" else f"this machine has {free}"
    raise UserError(f"training needs {gigabytes(peak)} by plan, {has}; {fix}")


def device_of(gpu: float | None, settings: Runtime) -> tuple[Device, int]:
    """A GPU of so many GB, or else ``device_here``."""
    return ("cuda", int(gpu * GB)) if gpu else device_here(settings)


def device_here(settings: Runtime) -> tuple[Device, int]:
    """The device on which the profile would run on this machine, and the bytes of its memory: of a GPU the free ones.

    Raises:
        UserError: CUDA is asked for and absent.
    """
    from tinygptv.ground.runtime import resolve_device

    device = resolve_device(settings.device)
    if device.type == "cuda":
        import torch

        return "cuda", int(torch.cuda.mem_get_info(device)[0])
    return "cpu", os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _stage_plan(
    config: Config, name: str, sizes: Sizes, device: Device, capacity: int, sets: tuple[SetPlan, ...]
) -> StagePlan:
    stage = config.stage(name)
    memory = stage_memory(config, name, sizes, device) if stage.steps else NOTHING
    matrices, lora = sizes.language_model.blocks, sizes.stages[name].adapters
    compute = stage_compute(config, stage, matrices=matrices, lora=lora)
    fits = memory.peak <= capacity
    return StagePlan(
        name=name,
        samples=_samples(config, name),
        tokens=stage.max_sequence_tokens,
        parameters=sizes.language_model.parameters + sizes.projections.parameters + sizes.stages[name].adapters,
        trainable=sizes.stages[name].parameters if stage.steps else 0,
        memory=memory,
        compute=compute,
        hours={gpu: compute.hours(peak) for gpu, peak in PEAK_TFLOPS.items()}
        if config.runtime.dtype == "bfloat16"
        else {},
        fits=fits,
        changes=() if fits else tuple(_changes(config, name, sizes, device, capacity)),
        features=stage.features,
        cheaper=cheaper_way(config, name, sets),
    )


def _changes(config: Config, name: str, sizes: Sizes, device: Device, capacity: int) -> list[Change]:
    """Each lever alone; where none is enough, also several together, the cheapest first."""

    def tried(settings: Mapping[str, Any]) -> Change:
        peak = stage_memory(changed(config, settings), name, sizes, device).peak
        return Change(settings=dict(settings), peak=peak, fits=peak <= capacity)

    def best(given: Mapping[str, Any], key: str, values: Sequence[Any]) -> Change:
        """The first value that fits, or the last one."""
        last = tried({**given, key: values[-1]})
        if len(values) == 1 or not last.fits:
            return last
        # Numbers of samples, largest first: what a pass holds grows evenly with them, so that few are run.
        whole, least = _samples(config, name), values[-1]
        a_sample = (tried(given).peak - last.peak) / (whole - least)
        likely = [value for value in values[:-1] if last.peak + a_sample * (value - least) <= capacity]
        return next((change for value in likely if (change := tried({**given, key: value})).fits), last)

    levers = _levers(config, name)
    alone = [best({}, key, values) for key, values in levers.items()]
    if not alone or any(change.fits for change in alone):
        return alone
    together = min(alone, key=lambda change: change.peak)
    least: Change | None = None
    for key, values in levers.items():
        change = best(least.settings if least else {}, key, values)
        if least is None or change.peak < least.peak:
            least = change
        if least.fits:
            break
    assert least is not None
    return [*alone, least] if len(least.settings) > 1 and least.peak < together.peak else alone


def _samples(config: Config, name: str) -> int:
    """Of a stage's largest forward pass."""
    stage = config.stage(name)
    return min(stage.micro_batch_size, largest_batch(stage))


def _levers(config: Config, name: str) -> dict[str, Sequence[Any]]:
    """Keys that can be changed, from what costs nothing to what changes the numbers, with their values to try."""
    stage = config.stage(name)
    levers: dict[str, Sequence[Any]] = {
        f"{name}.label_only_logits": [] if stage.label_only_logits else [True],
        f"{name}.gradient_checkpointing": [] if stage.gradient_checkpointing else [True],
        f"{name}.features": ["cached"] if stage.features == "in_loop" else [],
        f"{name}.micro_batch_size": _smaller_micro_batches(stage),
        "runtime.dtype": ["bfloat16"] if config.runtime.dtype == "float32" else [],
        f"{name}.base_8bit": [] if stage.base_8bit else [True],
    }
    return {key: values for key, values in levers.items() if values}


def _smaller_micro_batches(stage: Stage) -> list[int]:
    """Sizes below the present one that the schema allows, largest first."""
    whole = largest_batch(stage)
    present = min(stage.micro_batch_size, whole)
    allowed = range(present - 1, 0, -1)
    return [size for size in allowed if not isinstance(stage.batch_size, int) or whole % size == 0]


def changed(config: Config, settings: Mapping[str, Any]) -> Config:
    """The profile with other values of keys such as ``stage3.micro_batch_size``."""
    update: dict[str, Any] = {}
    for key, value in settings.items():
        section, _, field = key.partition(".")
        update[section] = update.get(section, getattr(config, section)).model_copy(update={field: value})
    return config.model_copy(update=update)


def gigabytes(size: int) -> str:
    """Bytes for people."""
    return f"{size / GB:.1f} GB"

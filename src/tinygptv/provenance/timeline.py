"""``tinygptv timeline``: some steps of a stage under torch's profiler, as a trace and as a table.

The steps are the stage's own, from its first one on, with its data, its model and its optimizer. They leave nothing but
the trace: no checkpoint, no resume point, no run in MLflow.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from tinygptv.config.profiles import read_profile
from tinygptv.ground.errors import UserError
from tinygptv.ground.folders import data_folder, state_folder
from tinygptv.ground.names import require_stage
from tinygptv.ground.tables import plain_table
from tinygptv.provenance.replay import made

if TYPE_CHECKING:
    from tinygptv.data.batches import Batch
    from tinygptv.provenance.launches import Launches

FOLDER = "timeline"
"""Of a profile's state."""
WARM_UP = 2
"""Steps before those that are looked at: the first ones allocate, and choose kernels."""


def run(root: Path, profile: str | None, stage: str, steps: int) -> None:
    """The command: make steps, write the trace and print where the time goes.

    Args:
        root: the checkout.
        profile: the profile, or None for that of ``params.yaml``.
        stage: ``stage1`` to ``stage4``.
        steps: how many are looked at.

    Raises:
        UserError: no such stage, fewer steps than asked for, an input is missing, or the device is too small.
    """
    require_stage(stage)
    chosen = read_profile(root, profile)
    settings = chosen.config.stage(stage)
    if steps + WARM_UP > settings.steps:
        most = settings.steps - WARM_UP
        raise UserError(f"--steps {steps}: {stage} of the profile {chosen.name} has {max(most, 0)} to look at")
    data = data_folder(root, chosen.name)
    folders = {name: made(root, data / name) for name in ("shards", "backbones", "features")}
    file = state_folder(root, chosen.name) / FOLDER / f"{stage}.json.gz"
    found = looked_at(root, chosen.name, stage, steps, folders, file)
    print(f"{told(found)}\n\n{file}")


def looked_at(root: Path, profile: str, stage: str, steps: int, folders: dict[str, Path], file: Path) -> Launches:
    """Make the steps, write the trace, count."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # its library tells the terminal when it begins
    import torch
    from torch.profiler import ProfilerActivity, record_function
    from torch.profiler import profile as watch

    from tinygptv.ground import runtime
    from tinygptv.ground.file_names import INIT_FOLDER
    from tinygptv.model import adapters
    from tinygptv.model.stage_checkpoint import parent_of
    from tinygptv.planning import plan
    from tinygptv.provenance.launches import DATA_WAIT, launches
    from tinygptv.steps.train import load_model
    from tinygptv.training import compiled, loop
    from tinygptv.training.batches import encoder_beside, stage_batches, steps_of

    chosen = read_profile(root, profile)
    config, settings, backbones = chosen.config, chosen.config.stage(stage), folders["backbones"]
    plan.check(config, stage, *plan.device_here(config.runtime))
    before = parent_of(stage)
    init = backbones / INIT_FOLDER
    parent = made(root, data_folder(root, profile) / before) if before else init if init.is_dir() else None
    device = runtime.prepare(config.runtime, chosen.seed)
    batches = stage_batches(config, stage, chosen.seed, **folders)
    model, _, _ = load_model(config, stage, backbones, parent, device)
    state = loop.new_state(model, adapters.trainable_parameters(model), settings, (chosen.seed, stage))
    if settings.compile:
        compiled.compile_blocks(model, config, stage, state_folder(root, profile) / compiled.CACHE)
    encode = encoder_beside(config, stage, backbones, device)
    on_gpu = device.type == "cuda"
    watching = watch(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])])
    moments: list[float] = []

    def waited(made_steps: Iterator[list[Batch]]) -> Iterator[Sequence[Batch]]:
        while True:
            with record_function(DATA_WAIT):
                step = next(made_steps, None)
            if step is None:
                return
            yield step

    def on_step(state: loop.TrainingState) -> None:
        if state.step == WARM_UP:
            watching.start()
            moments.append(time.perf_counter())
        elif state.step == WARM_UP + steps:
            moments.append(time.perf_counter())
            watching.stop()

    few = settings.model_copy(
        update={"steps_per_epoch": WARM_UP + steps, "epochs": 1, "repeats": 1, "validation": None}
    )
    ahead = islice(steps_of(config, stage, batches, 0, encode), few.steps)
    loop.train(state, waited(ahead), few, on_step=on_step)
    if on_gpu:
        torch.cuda.synchronize()
    file.parent.mkdir(parents=True, exist_ok=True)
    watching.export_chrome_trace(str(file))
    return launches(watching, steps, moments[1] - moments[0])


def told(found: Launches) -> str:
    """Tables for a terminal."""
    whole, steps = found.seconds, found.steps

    def rows(parts: dict[str, float]) -> list[tuple[str, str, str]]:
        listed = [(name, parts[name]) for name in sorted(parts, key=lambda name: -parts[name])]
        return [(name, f"{1000 * took / steps:.2f}", f"{took / whole:.0%}") for name, took in listed]

    left = {"else": max(whole - sum(found.phases.values()), 0.0)}
    where = "of the GPU" if found.gpu else "of the processor, all threads' operations"
    busy = "" if found.busy is None else f"\nThe GPU computes {found.busy:.0%} of the time."
    return (
        f"{steps} steps, {1000 * whole / steps:.2f} ms each\n\n"
        + plain_table(("by the clock", "ms a step", "share"), rows(found.phases | left), right=(1, 2))
        + "\n\n"
        + plain_table((where, "ms a step", "share"), rows(found.kinds), right=(1, 2))
        + f"\n\n{'Kernels' if found.gpu else 'Operations that compute'} a step: {found.a_step:,.0f}{busy}"
    )

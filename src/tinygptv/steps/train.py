"""The steps ``stage1`` to ``stage4``: train on features of images, from the checkpoint of the stage before."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tinygptv.data.fit import COUNTS
from tinygptv.ground.errors import DataError
from tinygptv.ground.file_names import CUTS, HISTORY, IMAGE_ENCODER, INIT_FOLDER, MANIFEST, TRACE, TRAINED, view_of
from tinygptv.ground.files import read_json, sha256_file, write_json, write_text
from tinygptv.ground.folders import speed_file, state_folder
from tinygptv.ground.processes import Interrupted
from tinygptv.ground.progress import Progress
from tinygptv.ground.tables import some

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import torch

    from tinygptv.config import Config, Stage
    from tinygptv.data.batches import Batch
    from tinygptv.model.adapters import FreezeTable
    from tinygptv.model.modeling import TinyGPTVForConditionalGeneration
    from tinygptv.model.stage_checkpoint import Manifest
    from tinygptv.steps.harness import StepContext
    from tinygptv.training.loop import LookValue, Score, TrainingState

LOOKS_SHOWN: dict[LookValue, str] = {"validation_loss": "held_out", "validation_score": "score"}
"""Value of a look → what the progress calls it."""
KEPT: dict[str, tuple[str, LookValue]] = {
    "loss": ("lowest loss", "validation_loss"),
    "score": ("highest score", "validation_score"),
}
"""``validation.keep`` → what it keeps in words, and where it stands."""


def run(context: StepContext) -> None:
    """Train one stage.

    Raises:
        UserError: the device is too small, an input is missing or does not fit, or the loss is not finite.
    """
    from tinygptv.evaluation.held_out import held_out_questions
    from tinygptv.ground import runtime
    from tinygptv.model import adapters, weights
    from tinygptv.model.stage_checkpoint import init_of, save_stage
    from tinygptv.planning import plan
    from tinygptv.planning.throughput import Throughput
    from tinygptv.tracking.machine import PREFIX
    from tinygptv.training import compiled, curve, loop
    from tinygptv.training.batches import encoder_beside, held_out_batches, stage_batches, steps_of
    from tinygptv.training.resume import ResumePoints

    name, config, workers = context.step, context.config, context.workers
    stage = config.stage(name)
    if not stage.steps:
        if workers.is_main:
            hand_on(context)
        return
    plan.check(config, name, *plan.device_here(config.runtime))
    backbones, view = context.input("backbones"), view_of(name)
    shards, features = context.input("shards", view), context.input("features", view)
    digests = weights.backbone_digests(backbones)
    check_features(read_json(features / view), digests)
    device = workers.own_device(runtime.prepare(config.runtime, context.seed))
    folders = {"shards": shards, "backbones": backbones, "features": features}
    batches = stage_batches(config, name, context.seed, **folders)
    print("\n".join(f"{name}: {line}" for line in batches.mixing().splitlines()))
    if (leaves := stage.micro_batches) < workers.size:
        print(
            f"{name}: {workers.size - leaves} of {workers.size} processes are spare: a step has {leaves} micro-batches"
        )
    cuts = batches.check()
    model, table, parent = load_model(config, name, backbones, parent_folder(context), device)
    print(f"{name}: {table}")
    log_cuts(context, stage, cuts)

    decisive = ("runtime", "model", name, *(("features",) if stage.features == "in_loop" else ()))
    manifest: dict[str, Any] = {
        "stage": name,
        "parent": {"stage": parent.stage, "sha256": parent.sha256} if parent else None,
        "backbones": digests,
        "features": sha256_file(features / view),
        "trainable": table.trainable,
        "seed": context.seed,
        "config": {key: getattr(config, key).model_dump(mode="json") for key in decisive},
        "environment": runtime.environment(),
        "init": init_of(backbones),
    }
    state = loop.new_state(model, adapters.trainable_parameters(model), stage, (context.seed, name), workers)
    points = ResumePoints(context.state, {**manifest, "shards": sha256_file(shards / view), "code": context.code})
    for line in points.restore(state, context.allowed_changes):
        print(f"{name}: {line}")
    workers.must_agree({**points.fingerprint, "resume point": state.step})
    context.run.params({"trainable": table.total_trainable, "frozen": table.frozen})
    if stage.compile:
        cache = state_folder(context.root, context.profile.name) / compiled.CACHE
        compiled.compile_blocks(model, config, name, cache)

    encode = encoder_beside(config, name, backbones, device)
    held_out: list[Batch] = []
    score: Score | None = None
    if stage.validation:
        held_out = held_out_batches(config, name, context.seed, **folders, encode=encode)
        looked_at = f"{sum(len(batch.record_ids) for batch in held_out)} held-out samples"
        if stage.validation.questions:
            questions = held_out_questions(config, name, **folders, encode=encode)
            score, looked_at = questions.score, f"{looked_at} and {len(questions)} questions"
        print(f"{name}: {looked_at} are looked at every {stage.validation.every} steps")
    progress = Progress(name, stage.steps, state.step)

    looks: dict[str, float] = {}

    def on_step(state: TrainingState) -> None:
        last = state.trace[-1]
        if begun := {str(key): last[name] for key, name in loop.BEGUN.items() if name in last}:
            context.run.metrics(begun, step=0)
        looks.update((shown, last[key]) for key, shown in LOOKS_SHOWN.items() if key in last)
        progress.update(state.step, loss=last["loss"], lr=last["lr"], **looks, **speed.shown())
        if curve.is_curve_point(state.step, stage):
            point = curve.curve_point(state.trace, state.step, stage)
            found = {key: value for key, value in point.items() if key != "step"}
            measured = {PREFIX + key: value for key, value in (speed.values() | speed.of_each()).items()}
            context.run.metrics(found | measured, step=state.step)
            speed.restart()
        stopping = workers.agree_to_stop(context.stop.number)
        if stopping or (state.step % stage.checkpoint_every == 0 and state.step < stage.steps):
            if workers.is_main:
                points.save(state)
            if stopping:
                workers.barrier()  # or the launcher would end who still writes
                raise Interrupted(stopping)

    steps = steps_of(config, name, batches, state.step, encode, workers)
    speed = Throughput(config, name, model, device, workers)
    with context.stop.safe_points(), progress:
        loop.train(state, speed.watched(steps), stage, on_step=on_step, held_out=held_out, score=score)
    tell_best(context, state, stage)
    loop.leave_best(state)
    if not workers.is_main:
        return
    write_json(speed_file(context.root, context.profile.name, name), speed.values(whole=True))
    manifest["changes"] = points.changes
    save_stage(model, context.out, manifest, parent.groups if parent else ())
    write_json(context.out / HISTORY, curve.loss_curve(state.trace, stage))
    write_text(context.out / TRACE, "".join(f"{json.dumps(point)}\n" for point in state.trace))
    write_json(context.out / CUTS, cuts)
    record_files(context)


def hand_on(context: StepContext) -> None:
    """A stage without epochs: what it would begin from, byte for byte; for a first stage, the projection as it is made.

    Raises:
        UserError: an input is missing or does not fit.
    """
    from tinygptv.ground import runtime
    from tinygptv.model import assembly, stage_checkpoint, weights
    from tinygptv.tracking import facts

    name, config, backbones = context.step, context.config, context.input("backbones")
    manifest: dict[str, Any] = {
        "stage": name,
        "backbones": weights.backbone_digests(backbones),
        "features": "",
        "seed": context.seed,
        "config": {key: getattr(config, key).model_dump(mode="json") for key in ("runtime", "model", name)},
        "environment": runtime.environment(),
        "changes": [],
        "init": stage_checkpoint.init_of(backbones),
    }
    parent = parent_folder(context)
    if parent is not None:
        stage_checkpoint.hand_on(parent, parent.name, context.out, manifest)
    else:
        runtime.prepare(config.runtime, context.seed)
        model = assembly.assemble(config, backbones, with_tower=False)
        stage_checkpoint.save_stage(model, context.out, {**manifest, "parent": None, "trainable": {}}, ())
    print(f"{name}: nothing to train (epochs: 0); the weights of {parent.name if parent else 'the beginning'}")
    read = ("backbones", stage_checkpoint.parent_of(name))
    context.run.tags({facts.INPUTS_TAG: ",".join(filter(None, read))})
    write_json(context.out / HISTORY, [])
    write_text(context.out / TRACE, "")
    write_json(context.out / CUTS, {})
    record_files(context)


def parent_folder(context: StepContext) -> Path | None:
    """The checkpoint that a stage begins from; for the first one what the profile started from, if stages made it."""
    from tinygptv.model.stage_checkpoint import parent_of

    before = parent_of(context.step)
    if before is not None:
        return context.input(before)
    init = context.input("backbones") / INIT_FOLDER
    return init if init.is_dir() else None


def record_files(context: StepContext) -> None:
    """Keep a stage's files with its run, and what the profile started from."""
    init = read_json(context.out / MANIFEST)["init"]
    context.run.params({f"init.{key}": value for key, value in init.items()})
    for file in (MANIFEST, HISTORY, TRACE, CUTS, TRAINED):
        context.run.artifact(context.out / file)


def log_cuts(context: StepContext, stage: Stage, cuts: Mapping[str, Mapping[str, int]]) -> None:
    """Say what will be cut, of which data set; send the sums to the step's run, and of these sets their own numbers."""
    sums = {key: sum(counts[key] for counts in cuts.values()) for key in COUNTS}
    context.run.metrics(sums)
    about = "about " if sums["unseen"] else ""
    length, room = stage.max_answer_tokens, f"max_sequence_tokens {stage.max_sequence_tokens}"
    for key, told in (
        ("cut_answers", f"answers are cut, to max_answer_tokens {length} or what {room} leaves them"),
        ("left_out_turns", f"turns are left out: {room} has no room for them"),
    ):
        of_sets = {entry: counts for entry, counts in cuts.items() if counts[key]}
        context.run.metrics(
            {f"{what}.{entry}": counts[what] for entry, counts in of_sets.items() for what in (key, "answers")}
        )
        if of_sets:
            parts = some([f"{entry} {counts[key]} of {counts['answers']}" for entry, counts in of_sets.items()])
            print(f"{context.step}: {about}{sums[key]} of {sums['answers']} {told} ({parts})")


def tell_best(context: StepContext, state: TrainingState, stage: Stage) -> None:
    """Say which step's weights a stage leaves that has looked at its held-out part, and why it ended early."""
    from tinygptv.training import loop

    best, last = loop.best_look(state.trace, stage), state.trace[-1]
    if best is None or stage.validation is None:
        return
    kept, key = KEPT[stage.validation.keep]
    if state.step < stage.steps:
        looks = stage.validation.patience
        print(
            f"{context.step}: ended after step {state.step} of {stage.steps}: none of its last {looks} looks was better"
        )
    whose = f"of step {best['step']}" if best["step"] else "that it began with"
    print(
        f"{context.step}: the weights {whose}, with the {kept} on the held-out part: "
        f"{best[key]:.4g}; after the last step it was {last[key]:.4g}"
    )
    values = {f"best_{look}": best[look] for look in loop.LOOKS if look in best}
    context.run.metrics({"best_step": best["step"], **values})


def load_model(
    config: Config, name: str, backbones: Path, parent: Path | None, device: torch.device
) -> tuple[TinyGPTVForConditionalGeneration, FreezeTable, Manifest | None]:
    """The model as a stage begins with it, with its adapters and memory levers.

    Args:
        config: the profile.
        name: the stage.
        backbones: output of the step ``backbones``.
        parent: checkpoint of the stage before, or of ``init``; None where there is none.
        device: where all of it but the image encoder will be.

    Returns:
        The model, what of it trains, and what the parent says of itself.

    Raises:
        CheckpointError: the parent is of another stage, or was trained on other backbones.
    """
    from tinygptv.model import assembly, stage_checkpoint
    from tinygptv.training.preparation import prepare

    manifest = None
    model = assembly.assemble(config, backbones, with_tower=False)
    if parent is not None:
        before = stage_checkpoint.parent_of(name) or INIT_FOLDER
        manifest = stage_checkpoint.load_stage(model, parent, before, config, backbones)
    table = prepare(model, config, name, device)
    model.projector.to(device)
    model.language_model.to(device)
    return model, table, manifest


def check_features(view: dict[str, Any], backbones: dict[str, str]) -> None:
    """Features must come from the image encoder at hand.

    Raises:
        DataError: they were computed by another one.
    """
    if view.get(IMAGE_ENCODER) != backbones[IMAGE_ENCODER]:
        raise DataError("the cached features come from another image encoder; run `dvc repro features`")

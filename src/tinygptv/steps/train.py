"""The steps ``stage1`` to ``stage4``: train on cached features, from the checkpoint of the stage before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinygptv.errors import DataError
from tinygptv.files import read_json, sha256_tree, write_json
from tinygptv.steps.progress import Progress

if TYPE_CHECKING:
    from tinygptv.steps.harness import StepContext
    from tinygptv.training.loop import Point, TrainingState


def run(context: StepContext) -> None:
    """Train one stage.

    Raises:
        UserError: the device is too small, an input is missing or does not fit, or the loss is not finite.
    """
    from tinygptv import runtime
    from tinygptv.data.batches import StageBatches
    from tinygptv.data.features import FeatureReader
    from tinygptv.data.shards import read_records
    from tinygptv.model import adapters, assembly, checkpoint, int8
    from tinygptv.model.processing import read_tokenizer
    from tinygptv.planning import plan
    from tinygptv.training import loop, resume

    name, config = context.step, context.config
    stage = config.stage(name)
    plan.check(config, name, *plan.device_here(config.runtime))
    shards, backbones, features = context.input("shards"), context.input("backbones"), context.input("features")
    check_features(read_json(features / "manifest.json"), checkpoint.backbone_digests(backbones))
    device = runtime.prepare(config.runtime, context.seed)

    model = assembly.assemble(config, backbones, with_tower=False)
    parent = checkpoint.parent_of(name)
    parent_record = None
    if parent is not None:
        loaded = checkpoint.load_stage(model, context.input(parent), parent, config, backbones)
        parent_record = {"stage": parent, "sha256": loaded.sha256}
    if "lora" in stage.trainable and not adapters.has_lora(model):
        adapters.add_lora(model, config.model.lora)
    table = adapters.freeze(model, stage.trainable)
    print(f"{name}: {table}")
    if stage.base_8bit:
        int8.quantize_base(model.language_model, outlier_threshold=config.quantize.outlier_threshold)
    if stage.gradient_checkpointing:
        model.language_model.activation_checkpointing_enable({"use_reentrant": False})
    model.projector.to(device)
    model.language_model.to(device)

    batches = StageBatches(
        read_records(sorted(shards.glob("train-*.tar"))),
        FeatureReader(features / str(stage.image_size)),
        read_tokenizer(backbones),
        stage,
        name=name,
        image_token_id=model.config.image_token_id,
        num_query_tokens=config.model.qformer.num_query_tokens,
        seed=context.seed,
    )
    manifest: dict[str, Any] = {
        "stage": name,
        "parent": parent_record,
        "backbones": checkpoint.backbone_digests(backbones),
        "features": sha256_tree(features / str(stage.image_size)),
        "trainable": table.trainable,
        "seed": context.seed,
        "config": {key: getattr(config, key).model_dump(mode="json") for key in ("runtime", "model", name)},
        "environment": runtime.environment(),
    }
    state = loop.new_state(model, adapters.trainable_parameters(model), stage)
    for line in resume.restore(context.state, state, manifest):
        print(f"{name}: {line}")
    context.run.params({"trainable": table.total_trainable, "frozen": table.frozen})

    progress = Progress(name, stage.steps, state.step)

    def on_step(state: TrainingState, point: Point) -> None:
        progress.update(state.step, loss=point["loss"], lr=point["lr"])
        if state.step % stage.log_every == 0 or state.step == stage.steps:
            context.run.metrics({k: v for k, v in state.history[-1].items() if k != "step"}, step=state.step)
        if context.stop.requested or (state.step % stage.checkpoint_every == 0 and state.step < stage.steps):
            resume.save(context.state, state, manifest)
            context.stop.check()

    with context.stop.safe_points(), progress:
        loop.train(state, batches.batch, stage, on_step=on_step)
    checkpoint.write_checkpoint(context.out, adapters.trainable_state(model), manifest)
    write_json(context.out / checkpoint.HISTORY, state.history)
    context.run.artifact(context.out / checkpoint.MANIFEST)
    context.run.artifact(context.out / checkpoint.HISTORY)
    context.run.artifact(context.out / checkpoint.TRAINED)


def check_features(manifest: dict[str, Any], backbones: dict[str, str]) -> None:
    """Features must come from the image encoder at hand.

    Raises:
        DataError: they were computed by another one.
    """
    from tinygptv.model.checkpoint import IMAGE_ENCODER

    if manifest.get(IMAGE_ENCODER) != backbones[IMAGE_ENCODER]:
        raise DataError("the cached features come from another image encoder; run `dvc repro features`")

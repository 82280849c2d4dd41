"""The step ``backbones``: the frozen image encoder, the language model and its tokenizer.

Published weights, pinned and checked (``backbones.source: hub``), small stand-ins trained on the shards (``pretrain``),
or finished ones that the section ``init`` names. All leave the same files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinygptv.config import Pretrained, Published
from tinygptv.ground import runtime
from tinygptv.ground.errors import DataError
from tinygptv.ground.file_names import ENVIRONMENT, INIT, view_of
from tinygptv.ground.files import read_json, write_json
from tinygptv.ground.folders import STATE

if TYPE_CHECKING:
    from tinygptv.steps.harness import StepContext


def run(context: StepContext) -> None:
    """Make the backbones of the profile.

    Raises:
        UserError: files are missing, are not the pinned ones, or are those of another model; or the shards hold too
            little to pretrain on.
        PassingError: the registry that ``init.from`` names cannot be reached just now.
    """
    from tinygptv.model.weights import describe_backbones
    from tinygptv.tracking import facts

    settings, init = context.config.backbones, {}
    if isinstance(settings, Pretrained):
        pretrain_standins(context)
    elif isinstance(settings, Published):
        context.run.tags({facts.INPUTS_TAG: ""})  # DVC's graph has the shards before any backbones
        take_published(context, settings)
    else:
        context.run.tags({facts.INPUTS_TAG: "download"})
        init = take_finished(context)
    context.run.params(describe_backbones(context.out, context.config.model.model_dump(mode="json"), init))
    write_json(context.out / ENVIRONMENT, runtime.environment())


def take_published(context: StepContext, settings: Published) -> None:
    """Fetch the pinned files and turn them into ours. Downloads stay in ``.state/upstream`` for the next time."""
    from tinygptv.model.upstream import build, fetch, pins

    names = (settings.language_model, settings.image_encoder)
    entries = pins.pinned(context.root / pins.PINS, names)
    files = fetch.gather(
        entries,
        folder=context.root / settings.folder if settings.folder else None,
        downloads=context.root / STATE / "upstream",
    )
    for name, entry in entries.items():
        print(f"{name} {entry.version}: {len(entry.files)} files as in {pins.PINS}")
    build.build(context.config, files[settings.language_model], files[settings.image_encoder], context.out)
    context.run.params({f"revision of {name}": entry.revision or str(entry.address) for name, entry in entries.items()})
    context.run.artifact(context.root / pins.PINS)


def take_finished(context: StepContext) -> dict[str, str]:
    """Take what ``init.from`` names, as ``download`` has seen it.

    Returns:
        Its name and digest.

    Raises:
        DataError: it has changed since.
    """
    from tinygptv.model import init_files
    from tinygptv.steps import init_from

    assert context.config.init is not None
    seen = read_json(context.input("download", INIT) / INIT)
    source = init_from.find(context.root, context.config.init)
    init = init_from.named(context.config.init, source)
    if init != seen:
        raise DataError(f"init.from: {init['from']} is not what `download` has seen; run `dvc repro`")
    manifest = {
        "features": "",
        "seed": context.seed,
        "config": {key: getattr(context.config, key).model_dump(mode="json") for key in ("runtime", "model")},
        "environment": runtime.environment(),
        "changes": [],
        "init": init,
    }
    if isinstance(source, init_from.ImportedFolder):
        init_files.take_imported(source.folder, context.out, manifest, context.config)
    else:
        with init_from.opened(context.root, source) as made:
            init_files.take(made.backbones, made.stage, context.out, manifest, context.config.model)
    context.run.params({f"init.{key}": value for key, value in init.items()})
    print(f"init: {init['from']}, {init['sha256']}")
    return init


def pretrain_standins(context: StepContext) -> None:
    """Train them, and put their loss curves on record."""
    from tinygptv.pretraining import standins

    shards = context.input("shards", view_of("backbones"))
    standins.make(standins.StandInJob(context.config, context.seed, shards, context.out))
    for name in standins.CURVES:
        curve = standins.curve_path(context.out, name)
        for point in standins.read_curve(curve):
            context.run.metrics({f"{name}_loss": point["loss"]}, step=int(point["step"]))
        context.run.artifact(curve)

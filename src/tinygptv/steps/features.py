"""The step ``features``: Q-Former outputs of every training image, at the resolutions of the stages that read them, and
of the held-out images that a stage looks at while it trains.

The image encoder is frozen and the recipe has no random crop, so they are a pure function of the image; training never
loads the encoder. Evaluation does not use them: it goes through the pixels.

Each tar of a set has a block of features at each resolution. A block whose tar is as it was is linked; another one is
made of the rows that earlier blocks have, of whichever set, and of new ones. So a changed image costs its own encoding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache, partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinygptv.data.blocks import block_code, inputs_digest
from tinygptv.data.feature_rows import RowMaker, Wanted
from tinygptv.data.feature_store import FeatureStore, NewBlock, Tar, viewed_splits
from tinygptv.data.features import VIEWED, write_view
from tinygptv.data.pool import map_blocks
from tinygptv.ground import digests, runtime
from tinygptv.ground.crew import crew_here
from tinygptv.ground.errors import DataError
from tinygptv.ground.file_names import IMAGE_ENCODER, MANIFEST, view_of
from tinygptv.ground.files import require_room, write_json
from tinygptv.ground.names import STAGES
from tinygptv.ground.progress import Progress
from tinygptv.ground.tables import some

if TYPE_CHECKING:
    from tinygptv.config import Config
    from tinygptv.steps.harness import StepContext

ROW_CODE = (
    "data/feature_rows",
    "data/features",
    "data/images",
    "data/tar_index",
    "ground/runtime",
    "model/backbones",
    "model/configuration",
    "model/encoding",
    "model/processing",
    "model/row_maker",
    "model/vision",
    "model/weights",
)
"""The modules between an image's bytes and its row. An edit of others on which the step depends encodes nothing."""


@dataclass(frozen=True, slots=True)
class Missing:
    """Blocks that are to be made of one tar."""

    tar: Tar
    blocks: tuple[NewBlock, ...]
    """One for each resolution that lacks it."""


@dataclass(frozen=True, slots=True)
class Done:
    """What was missing; its blocks lie in the store."""

    missing: Missing
    encoded: int
    """Rows that no earlier block had."""


def run(context: StepContext) -> None:
    """Compute and store the features.

    Raises:
        DataError: a set has no training shards, or one is damaged.
    """
    config = context.config
    backbones, shards = context.input("backbones", IMAGE_ENCODER), context.input("shards", view_of(context.step))
    encoder, sizes = digests.sha256(backbones / IMAGE_ENCODER), resolutions(config)
    store = FeatureStore(context.blocks, row_inputs(context, encoder))
    found = viewed_splits(shards)
    if absent := [dataset for dataset, split in sizes if split == "train" and not found.get((dataset, split))]:
        raise DataError(f"{shards} holds no training shards of {some(absent)}; run `dvc repro shards`")
    tars = {split: found[split] for split in sizes if split in found}  # a set may have no held-out part
    encoded = make_missing(context, store, tars, partial(prepare, config, context.seed, backbones, encoder))

    images = dict.fromkeys(tars, 0)
    listed: dict[tuple[str, str, int], dict[int, dict[str, Any]]] = {}
    for tar in chain(*tars.values()):
        for size in sizes[tar.dataset, tar.split]:
            path, block = store.link(tar, size, context.out)
            about = {"sha256": block.digests[path.suffix], "bytes": path.stat().st_size, "tar": tar.sha256}
            listed.setdefault((tar.dataset, tar.split, size), {})[tar.number] = about
        images[tar.dataset, tar.split] += block.facts["images"]
    for stage in STAGES:
        size = config.stage(stage).image_size
        viewed: dict[str, dict[str, dict[int, dict[str, Any]]]] = {"train": {}, "val": {}}
        for name, split in splits_of(config, stage):
            if (name, split) in tars:
                viewed[split][name] = listed[name, split, size]
        write_view(context.out, stage, size, encoder, viewed["train"], viewed["val"])
    total, rows = sum(images.values()), sum(images[split] * len(sizes[split]) for split in images)
    counted: dict[str, dict[str, int]] = {VIEWED["train"]: {}}
    for (name, split), number in images.items():
        counted.setdefault(VIEWED[split], {})[name] = number
    write_json(context.out / MANIFEST, {IMAGE_ENCODER: encoder, "images": total, **counted})
    print(f"{context.step}: {encoded} of {rows} rows encoded; the others were there")
    context.run.artifact(context.out / MANIFEST)
    context.run.metrics({"images": total, "rows": rows, "encoded": encoded})
    kept = {size: [tar for split in tars if (*split, size) in listed for tar in tars[split]] for *_, size in listed}
    store.prune(kept)


def make_missing(
    context: StepContext,
    store: FeatureStore,
    tars: Mapping[tuple[str, str], Sequence[Tar]],
    work: Callable[[], Callable[[Missing], Done]],
) -> int:
    """Make the blocks that the store lacks.

    Args:
        context: the step's.
        store: the blocks.
        tars: data set and split → its tars.
        work: called once in each process, returns what makes blocks.

    Returns:
        How many rows had to be encoded.
    """
    config, sizes = context.config, resolutions(context.config)
    crew = crew_here(config.loader.workers, runtime.resolve_device(config.runtime.device).type)
    lacking = {
        tar: wanted
        for tar in chain(*tars.values())
        if (wanted := [size for size in sizes[tar.dataset, tar.split] if store.find(tar, size) is None])
    }
    require_room(context.state, row_bytes(config) * sum(tar.samples * len(wanted) for tar, wanted in lacking.items()))
    total = sum(tar.samples for tar in chain(*tars.values()))
    encoded, made = 0, total - sum(tar.samples for tar in lacking)
    opened = work if crew.beside else cache(work)  # in this process the encoder is opened once
    with Progress(context.step, total, made, unit="image") as progress:
        for of_split in tars.values():  # one after the other: what they share is encoded in the first
            todo = [tar for tar in of_split if tar in lacking]
            missing = (Missing(tar, tuple(store.new(tar, size) for size in lacking[tar])) for tar in todo)
            for done in map_blocks(opened, missing, crew):
                tar = done.missing.tar
                for block in done.missing.blocks:
                    store.remember(tar, block.image_size)
                encoded, made = encoded + done.encoded, made + tar.samples
                progress.update(made)
    return encoded


def prepare(config: Config, seed: int, backbones: Path, encoder: str) -> Callable[[Missing], Done]:
    """What a process makes blocks with.

    Args:
        config: the profile.
        seed: the pipeline's seed; no row depends on it.
        backbones: output of the step ``backbones``.
        encoder: SHA-256 of the image encoder's file.
    """
    from tinygptv.model.row_maker import row_maker

    device = runtime.prepare(config.runtime, seed)
    sizes = sorted(set(chain(*resolutions(config).values())))
    return partial(make, row_maker(config, backbones, sizes, device), encoder)


def make(maker: RowMaker, encoder: str, missing: Missing) -> Done:
    """Make the blocks of a tar and put them into the store."""
    with ExitStack() as stack:
        wanted = {
            block: Wanted(block.image_size, stack.enter_context(block.place()), block.known) for block in missing.blocks
        }
        made = maker.make(missing.tar.path, missing.tar.sha256, encoder, wanted.values())
        for block, file in wanted.items():
            block.keep(file.path, made[block.image_size].images)
    return Done(missing, sum(of_size.encoded for of_size in made.values()))


def resolutions(config: Config) -> dict[tuple[str, str], tuple[int, ...]]:
    """Data set and split → the resolutions of the stages that read its cached features, ascending; sorted by name."""
    found: dict[tuple[str, str], set[int]] = {}
    for stage in STAGES:
        for split in splits_of(config, stage):
            found.setdefault(split, set()).add(config.stage(stage).image_size)
    return {split: tuple(sorted(found[split])) for split in sorted(found)}


def splits_of(config: Config, stage: str) -> list[tuple[str, str]]:
    """Data sets and splits of which a stage reads cached features."""
    trained, looked_at = config.cached_sets(stage), config.uses.get("held_out", {}).get(stage, ())
    return [*((name, "train") for name in trained), *((name, "val") for name in trained if name in looked_at)]


def row_inputs(context: StepContext, encoder: str) -> dict[int, str]:
    """Resolution → digest of all that decides a row, but for the image."""
    config = context.config
    compute = config.runtime
    decides = {
        "image_encoder": encoder,
        "model": [getattr(config.model, part).model_dump(mode="json") for part in ("vision", "qformer")],
        "features": config.features.model_dump(mode="json"),
        "runtime": [runtime.resolve_device(compute.device).type, compute.dtype, compute.threads, compute.deterministic],
        "environment": runtime.environment(),
        "code": block_code(context.code, ROW_CODE),
    }
    return {size: inputs_digest({**decides, "image_size": size}) for size in config.image_sizes}


def row_bytes(config: Config) -> int:
    """Bytes of a row."""
    import torch

    qformer, number = config.model.qformer, getattr(torch, config.runtime.dtype)
    return qformer.num_query_tokens * qformer.hidden_size * int(number.itemsize)

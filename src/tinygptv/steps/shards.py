"""``shards``: check every record and write the good ones as WebDataset tars, the others as a list with reasons.

First each data set's records are read, checked and sorted, on the disk; then its blocks are made, in several processes.
A block is found again where its records and images are as they were, in this run or an earlier one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import PIL

from tinygptv.config import Config, DataSet
from tinygptv.data import rows
from tinygptv.data.blocks import BlockStore, block_code, inputs_digest
from tinygptv.data.index_writer import IndexPart
from tinygptv.data.manifest import manifest_path
from tinygptv.data.pool import map_blocks
from tinygptv.data.rejections import LISTED, Rejections
from tinygptv.data.rows import SetRows
from tinygptv.data.shard_blocks import ROWS, TAR, BlockJob, MadeBlock, block_bits, prepare
from tinygptv.data.shards import put_split
from tinygptv.data.source import open_source, read_source
from tinygptv.data.summary import SPLITS, read_summary
from tinygptv.data.views import write_views
from tinygptv.ground.crew import crew_here
from tinygptv.ground.errors import DataError
from tinygptv.ground.file_names import SUMMARY
from tinygptv.ground.files import sha256_file, write_json
from tinygptv.ground.progress import Progress
from tinygptv.steps.harness import StepContext

REJECTED = "rejected.json"
TAR_CODE = (
    "data/boxes",
    "data/images",
    "data/index",
    "data/index_writer",
    "data/marks",
    "data/record_json",
    "data/record_rules",
    "data/records",
    "data/rejections",
    "data/rows",
    "data/shard_blocks",
    "data/shards",
    "data/tar_index",
    "data/tar_writer",
)
"""The modules between the checked records of a block and its tar. What a form reads is among the block's inputs, its
code is not."""


def run(context: StepContext) -> None:
    """Write ``data/<profile>/shards``: a folder of tars and indexes for each data set, ``rejected.json``, views.

    Raises:
        DataError: raw files are not those that ``download`` saw, or more records of a set are rejected than
            ``max_rejected`` allows.
    """
    config, store = context.config, BlockStore(context.blocks)
    sets = {name: sorted_records(context, name) for name in config.data}
    check_budgets(context, sets, {name: of_set.rejections for name, of_set in sets.items()})
    made = list(make_blocks(context, sets, store))
    rejected = {name: rejections(of_set, name, made) for name, of_set in sets.items()}
    check_budgets(context, sets, rejected)
    summaries = {name: put_together(context.out, name, made, store, rejected[name].count) for name in sets}
    write_views(context.out, config)
    write_json(context.out / REJECTED, to_json(rejected))
    counts = {key: sum(summary[key] for summary in summaries.values()) for key in ("records", "rejected")}
    write_json(
        context.out / SUMMARY, {"sets": {name: of_set["splits"] for name, of_set in summaries.items()}, **counts}
    )
    store.prune(of_block.block.name for of_block in made)
    tell(context, summaries)


def sorted_records(context: StepContext, name: str) -> SetRows:
    """The checked records of a data set, sorted by split and image; those that a killed run has sorted are taken."""
    settings, manifest = context.config.data[name], manifest_path(context.input("download"), name)
    decides = [str(context.root), sha256_file(manifest), settings.model_dump(mode="json"), context.code]
    made_of = inputs_digest(decides)
    path = context.state / f"{name}.sqlite"
    finished = rows.open_rows(path, made_of)
    if finished is None:
        source = open_source(name, settings, context.root, manifest)
        rows.collect(path, name, read_source(source), settings.split, made_of)
        finished = SetRows(path)
    if finished.found == 0:
        raise DataError(f"data set {name} has no records; correct its `files`, or take it out of `data`")
    return finished


def make_blocks(context: StepContext, sets: Mapping[str, SetRows], store: BlockStore) -> Iterator[MadeBlock]:
    """Every block of every data set, in the order in which they are done."""
    config = context.config
    total = sum(samples for of_set in sets.values() for samples in of_set.samples.values())
    code = inputs_digest([block_code(context.code, TAR_CODE), PIL.__version__])
    jobs = block_jobs(config, sets, context.state, store, code)
    with Progress("shards", total, unit="image") as progress:
        done = 0
        for made in map_blocks(prepare, jobs, crew_here(config.loader.workers)):
            yield made
            done += made.samples
            progress.update(done)


def block_jobs(
    config: Config, sets: Mapping[str, SetRows], state: Path, store: BlockStore, code: str
) -> Iterator[BlockJob]:
    """What is to be made; the blocks of a split are those that the first bits of keys name."""
    for name, of_set in sets.items():
        licence = config.data[name].licence
        decides = inputs_digest([code, name, licence])
        for split, samples in of_set.samples.items():
            bits = block_bits(samples, config.shards.images_per_shard)
            for number in range(2**bits if samples else 0):
                yield BlockJob(name, licence, state / f"{name}.sqlite", split, number, bits, decides, store)


def rejections(of_set: SetRows, name: str, made: Iterable[MadeBlock]) -> Rejections:
    """The rejected records of a data set: those of its files, and those of its images."""
    found = of_set.rejections
    for of_block in made:
        if of_block.job.dataset == name:
            found.merge(of_block.rejections)
    return found


def to_json(rejected: Mapping[str, Rejections]) -> dict[str, Any]:
    """The content of ``rejected.json``."""
    found = {name: of_set.to_json() for name, of_set in rejected.items()}
    return {"rejected": sum(of_set["rejected"] for of_set in found.values()), "sets": found}


def check_budgets(context: StepContext, sets: Mapping[str, SetRows], rejected: Mapping[str, Rejections]) -> None:
    """Stop where too much is wrong with a data set to go on; the list of what is stays in the state.

    Raises:
        DataError: the share of rejected records is above its ``max_rejected``, or nothing was accepted.
    """
    config = context.config
    write_json(context.state / REJECTED, to_json(rejected))
    for name, of_set in rejected.items():
        total, (most, key) = sets[name].found, budget(name, config.data[name], config.shards.max_rejected)
        if over_budget(of_set.count, total, most):
            first = of_set.to_json()["records"][0]
            listed = "all are" if of_set.count <= LISTED else f"the first {LISTED:,} are"
            raise DataError(
                f"data set {name}: {of_set.count} of {total} records rejected, more than {key} {most} "
                f"allows; the first is {first['id']}: {first['reason']}; {listed} listed in "
                f".state/{context.profile.name}/shards/{REJECTED}"
            )


def budget(name: str, settings: DataSet, most: float) -> tuple[float, str]:
    """The share of a set's records that may be rejected, and the key that says so."""
    if settings.max_rejected is None:
        return most, "shards.max_rejected"
    return settings.max_rejected, f"data.{name}.max_rejected"


def over_budget(rejected: int, found: int, most: float) -> bool:
    """Whether too many of the records that were found are rejected: a larger share than ``most``, or all."""
    return rejected > 0 and (rejected > most * found or rejected == found)


def put_together(out: Path, name: str, made: Iterable[MadeBlock], store: BlockStore, rejected: int) -> dict[str, Any]:
    """The folder of a data set from its blocks, and its summary."""
    folder = out / name
    folder.mkdir()
    for split in SPLITS:
        blocks = [
            of_block
            for of_block in made
            if (of_block.job.dataset, of_block.job.split) == (name, split) and of_block.block.facts["samples"]
        ]
        parts = []
        for of_block in sorted(blocks, key=lambda of_block: of_block.job.number):
            block = of_block.block
            store.link_into(out, block, TAR)
            facts = block.facts["samples"], block.facts["tasks"]
            parts.append(IndexPart(store.path(block.name, ROWS), of_block.job.number, block.digests[TAR], *facts))
        put_split(folder, split, folder, name, parts, sum(of_block.block.facts["images"] for of_block in blocks))
    summary = read_summary(folder) | {"rejected": rejected}
    write_json(folder / SUMMARY, summary)
    return summary


def tell(context: StepContext, summaries: Mapping[str, Mapping[str, Any]]) -> None:
    """Say in the run and on the terminal what came of the data sets."""
    for path in (SUMMARY, REJECTED):
        context.run.artifact(context.out / path)
    context.run.params(context.config.shards.model_dump())
    for name, summary in summaries.items():
        for split, counts in summary["splits"].items():
            numbers = {"images": counts["images"], "records": counts["records"], **counts["tasks"]}
            context.run.metrics({f"{name}.{split}.{what}": number for what, number in numbers.items()})
            tasks = (f"{number:>6} {task}" for task, number in counts["tasks"].items() if number)
            print(f"{name} {split:<6}{counts['images']:>6} images", *tasks)
        total = summary["records"] + summary["rejected"]
        context.run.metrics({f"{name}.rejected": summary["rejected"]})
        print(f"{name}: {summary['rejected']} of {total} records rejected ({REJECTED})")

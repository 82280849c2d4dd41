"""``tinygptv data check``: every record and picture of data sets looked at, as the steps would, before anything trains.

Records go through the rows of ``data/rows.py`` on the disk, pictures are decoded by processes, and of problems a
thousand are kept: nothing grows with the number of records.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from functools import partial
from heapq import merge
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from tinygptv.config import parse_entry
from tinygptv.data.pool import run_blocks
from tinygptv.data.rows import SetRows
from tinygptv.data.shard_blocks import block_bits
from tinygptv.data.summary import SPLITS
from tinygptv.ground.errors import PassingError, UserError
from tinygptv.ground.names import STAGES
from tinygptv.ground.progress import Progress
from tinygptv.own_data.checked import DataCheck, SetCheck
from tinygptv.own_data.counting import CountJob, Use, UseCount, prepare
from tinygptv.own_data.reading import rows_of
from tinygptv.own_data.scratch import scratch_folder
from tinygptv.own_data.tokens import tokenizer_folder
from tinygptv.steps.shards import budget, over_budget

if TYPE_CHECKING:
    from tinygptv.config import Config, DataSet

BLOCK = 500
"""Samples that a process looks at before it tells."""
ALONE = 400
"""So many samples are looked at sooner than other processes have begun."""


def check(root: Path, name: str, config: Config, sets: Mapping[str, DataSet], most_rejected: float) -> DataCheck:
    """Look at data sets.

    Args:
        root: the checkout.
        name: of the profile whose stages they are looked at for.
        config: the profile.
        sets: those that are looked at.
        most_rejected: share of a set's records that may be left out.

    Raises:
        PassingError: a disk or a process failed for now.
        OSError: the disk is full.
    """
    with ExitStack() as held:
        scratch = held.enter_context(scratch_folder(root))
        tokenizer = held.enter_context(tokenizer_folder(root, name, config.init))
        found = DataCheck(name, {}, tokenizer is not None)
        opened: dict[str, SetRows] = {}
        for dataset, settings in sets.items():
            found.sets[dataset] = of_set = SetCheck(settings)
            uses = uses_of(config, dataset, settings)
            found.uses |= {use.label: use for use in uses}
            try:
                read = rows_of(dataset, settings, root, scratch)
                opened[dataset] = held.enter_context(closing(read))
                _count(of_set, dataset, read, scratch / f"{dataset}.sqlite", uses, tokenizer)
            except UserError as error:
                if isinstance(error, PassingError):
                    raise
                of_set.failures.append(str(error))
                continue
            _judge(of_set, *budget(dataset, settings, most_rejected), exact=found.exact)
        _find_leaks(found, opened)
        found.failures += _empty_entries(config, found)
        return found


def uses_of(config: Config, dataset: str, settings: DataSet) -> tuple[Use, ...]:
    """What the stages that train take of a data set."""
    sizes = config.model.qformer.num_query_tokens, config.model.text.vocab_size
    uses = []
    for name in STAGES:
        stage = config.stage(name)
        for text in stage.mixture if stage.steps else ():
            entry = parse_entry(text)
            if entry.dataset == dataset:
                uses.append(Use.of(f"{name}: {text}", stage, entry.family, settings.templates, sizes))
    return tuple(uses)


def _count(
    of_set: SetCheck, dataset: str, read: SetRows, table: Path, uses: tuple[Use, ...], tokenizer: Path | None
) -> None:
    of_set.found, of_set.rejections = read.found, read.rejections
    total = sum(read.samples.values())
    workers = 0 if total <= ALONE else min(len(os.sched_getaffinity(0)), -(-total // BLOCK))

    def jobs() -> Iterator[CountJob]:
        for split, samples in read.samples.items():
            bits = block_bits(samples, BLOCK)
            for number in range(2**bits if samples else 0):
                taken = uses if split == "train" else ()
                yield CountJob(table, dataset, of_set.settings.licence, split, number, bits, taken)

    of_set.count.uses = {use.label: UseCount() for use in uses}
    with Progress(f"{dataset}: pictures", total, unit="image") as progress:
        for counted in run_blocks(partial(prepare, tokenizer), jobs(), workers):
            of_set.count.merge(counted)
            progress.update(of_set.count.samples)
    of_set.rejections.merge(of_set.count.damaged)
    for name, path, first, other in read.doubled():
        reason = f"its picture {path.name} is, byte for byte, {other.name} of record {first}"
        of_set.doubled.add([{"id": name, "reason": f"{reason}; both count as one picture"}])


def _judge(of_set: SetCheck, most_rejected: float, key: str, *, exact: bool) -> None:
    """Say why training on a data set would fail."""
    rejected = of_set.rejections
    if not of_set.found:
        of_set.failures.append("has no records; correct its `files`, or take it out of `data`")
    elif over_budget(rejected.count, of_set.found, most_rejected):
        first = rejected.to_json()["records"][0]
        share = "" if rejected.count == of_set.found else f", more than {key} {most_rejected} allows"
        of_set.failures.append(
            f"{rejected.count:,} of {of_set.found:,} records are left out{share}; the first is {first['id']}: "
            f"{first['reason']}"
        )
    for label, count in of_set.count.uses.items():
        if count.too_long.count and exact:
            first = count.too_long.to_json()["records"][0]
            of_set.failures.append(f"{label}: {count.too_long.count:,} records; {first['id']}: {first['reason']}")


def _empty_entries(config: Config, found: DataCheck) -> Iterator[str]:
    """Entries of mixtures, and stand-ins, that have nothing to train on."""
    read = {name: of_set for name, of_set in found.sets.items() if not of_set.failures}
    for name, of_set in read.items():
        for label, count in of_set.count.uses.items():
            if not count.records:
                stage, _, entry = label.partition(": ")
                there = ", ".join(of_set.count.tasks) or "nothing"
                yield (
                    f"{stage}.mixture names {entry}, of which there is no training record (the set has {there}); take "
                    "it out of the mixture, or add records"
                )
        if name in config.uses["sets"]["backbones"] and not of_set.count.splits["train"]:
            yield f"backbones.data names {name}, which has no training record"


def _find_leaks(found: DataCheck, opened: Mapping[str, SetRows]) -> None:
    """Held-out records whose picture is in a training part: of their own set, where its files say the splits, or of
    another one.
    """
    keys = [_keys(name, split, read) for name, read in opened.items() for split in SPLITS if read.samples[split]]
    for _, group in groupby(merge(*keys), key=lambda item: item[0]):
        at = list(group)
        trained = next(((name, first) for _, split, name, first in at if split == "train"), None)
        if trained is None or len(at) == 1:
            continue
        for _, split, name, first in at:
            if split != "train":
                where = "" if trained[0] == name else f" of {trained[0]}"
                told = f"is of {split}, and its picture is also trained on, by record {trained[1]}{where}"
                found.sets[name].leaks.add([{"id": first, "reason": f"{told}; hold it out there, too"}])


def _keys(name: str, split: str, read: SetRows) -> Iterator[tuple[str, str, str, str]]:
    """Key, split, data set and first record of every picture of a split, sorted by key."""
    bits = block_bits(read.samples[split], BLOCK)
    for number in range(2**bits):
        yield from ((one.key, split, name, one.ids[0]) for one in read.block(split, number, bits) if one.sha256)

"""``shards``: check every record and write the good ones as WebDataset tars, the others as a list with reasons."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack

from tinygptv.config import Published
from tinygptv.data.easy_vqa import Candidate, Rejection, read_candidates
from tinygptv.data.records import TASKS
from tinygptv.data.shards import ShardWriter
from tinygptv.data.summary import read_summary, write_view
from tinygptv.ground.errors import DataError
from tinygptv.ground.file_names import SUMMARY
from tinygptv.ground.files import write_json
from tinygptv.steps.harness import StepContext

REJECTED = "rejected.json"
SPLITS = ("train", "val", "test")


def run(context: StepContext) -> None:
    """Write ``data/<profile>/shards``: tars, ``rejected.json`` and ``summary.json``.

    Raises:
        DataError: the download is missing or damaged, or more records are rejected than ``shards.max_rejected`` allows.
    """
    settings = context.config.shards
    with ExitStack() as stack:
        writers = {
            split: stack.enter_context(ShardWriter(context.out, split, settings.images_per_shard)) for split in SPLITS
        }
        rejected = sift(read_candidates(context.input("download"), settings.val_images), writers)
        accepted = sum(writer.records for writer in writers.values())
        write_json(context.state / REJECTED, rejected)  # stays there if the step stops here
        check_budget(accepted, rejected, settings.max_rejected)
        for writer in writers.values():
            writer.put_in_place()
    write_view(context.out, published=isinstance(context.config.backbones, Published))
    write_json(context.out / REJECTED, rejected)
    summary = read_summary(context.out) | {"rejected": len(rejected)}
    write_json(context.out / SUMMARY, summary)
    context.run.artifact(context.out / SUMMARY)
    context.run.artifact(context.out / REJECTED)
    context.run.params(settings.model_dump())
    context.run.metrics({"records": accepted, "rejected": len(rejected)})
    for split in SPLITS:
        counts = summary["splits"][split]
        tasks = counts["tasks"]
        numbers = {"images": counts["images"], "records": counts["records"], **tasks}
        context.run.metrics({f"{split}.{name}": number for name, number in numbers.items()})
        print(f"{split:<6}{counts['images']:>6} images", *(f"{tasks[task]:>6} {task}" for task in TASKS))
    print(f"{len(rejected)} of {accepted + len(rejected)} records rejected ({REJECTED})")


def sift(candidates: Iterable[Candidate], writers: Mapping[str, ShardWriter]) -> list[Rejection]:
    """Hand each sample to the writer of its split, and return the rejected records, sorted."""
    rejected: list[Rejection] = []
    for candidate in candidates:
        rejected.extend(candidate.rejected)
        if candidate.sample is not None:
            writers[candidate.split].add(candidate.sample)
    return sorted(rejected, key=lambda item: (item["id"], item["reason"]))


def check_budget(accepted: int, rejected: list[Rejection], max_rejected: float) -> None:
    """Stop where too much is wrong with the data to go on.

    Raises:
        DataError: the share of rejected records is above ``max_rejected``, or nothing was accepted.
    """
    total = accepted + len(rejected)
    if rejected and (len(rejected) > max_rejected * total or not accepted):
        first = rejected[0]
        raise DataError(
            f"{len(rejected)} of {total} records rejected, more than shards.max_rejected {max_rejected} allows; "
            f"the first is {first['id']}: {first['reason']}; all are listed in .state/<profile>/shards/{REJECTED}"
        )

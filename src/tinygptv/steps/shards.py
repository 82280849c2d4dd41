"""``shards``: check every record and write the good ones as WebDataset tars, the others as a list with reasons."""

from __future__ import annotations

from collections.abc import Iterable

from tinygptv.data.easy_vqa import Candidate, Rejection, read_candidates
from tinygptv.data.records import TASKS, ImageSample
from tinygptv.data.shards import write_shards
from tinygptv.data.summary import read_summary
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
    samples, rejected = sift(read_candidates(context.input("download"), settings.val_images))
    accepted = sum(len(sample.record.records) for part in samples.values() for sample in part)
    write_json(context.state / REJECTED, rejected)  # stays there if the step stops here
    check_budget(accepted, rejected, settings.max_rejected)
    for split, part in samples.items():
        write_shards(context.out, split, part, settings.images_per_shard)
    write_json(context.out / REJECTED, rejected)
    summary = read_summary(context.out) | {"rejected": len(rejected)}
    write_json(context.out / SUMMARY, summary)
    context.run.artifact(context.out / SUMMARY)
    context.run.artifact(context.out / REJECTED)
    context.run.params(settings.model_dump())
    context.run.metrics({"records": accepted, "rejected": len(rejected)})
    for split in samples:
        counts = summary["splits"][split]
        tasks = counts["tasks"]
        numbers = {"images": counts["images"], "records": counts["records"], **tasks}
        context.run.metrics({f"{split}.{name}": number for name, number in numbers.items()})
        print(f"{split:<6}{counts['images']:>6} images", *(f"{tasks[task]:>6} {task}" for task in TASKS))
    print(f"{len(rejected)} of {accepted + len(rejected)} records rejected ({REJECTED})")


def sift(candidates: Iterable[Candidate]) -> tuple[dict[str, list[ImageSample]], list[Rejection]]:
    """Part the candidates into samples per split and rejected records, the latter sorted."""
    samples: dict[str, list[ImageSample]] = {split: [] for split in SPLITS}
    rejected: list[Rejection] = []
    for candidate in candidates:
        rejected.extend(candidate.rejected)
        if candidate.sample is not None:
            samples[candidate.split].append(candidate.sample)
    return samples, sorted(rejected, key=lambda item: (item["id"], item["reason"]))


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

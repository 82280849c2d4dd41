"""The authors' published checkpoints before the benchmarks of the paper, beside the numbers that it has of them.

The paper's numbers are counted as the authors' code counts, so that their count stands beside them, and the official
metric with its own interval beside that. What a benchmark's published number is, its module says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from tinygptv.config.base import Preset
from tinygptv.evaluation.authors_files import open_published, published_digests, published_identity
from tinygptv.evaluation.benchmarks.table import Ask, asks_of
from tinygptv.evaluation.measuring import measure, questions_asked
from tinygptv.evaluation.presets import stage_asking
from tinygptv.evaluation.subjects import Subject
from tinygptv.ground.errors import UserError
from tinygptv.ground.tables import plain_table

if TYPE_CHECKING:
    from tinygptv.config import Config
    from tinygptv.config.profiles import Profile
    from tinygptv.evaluation.authors_files import AuthorsFiles

PRESETS: tuple[Preset, ...] = get_args(Preset)
TABLE, LOG = "table 2", "their log"
SOURCE = "arXiv 2312.16862v3, table 2; boxes: eval_scripts/xgptv2_cae2_ld_e16_vqa_result.txt of the authors' repository"
BASELINES = ("blind", "majority", "trivial", "chance")
"""Keys of an entry: what needs no image; the first that there is stands in the table."""
HEADER = (
    *("checkpoint", "asked", "benchmark", "paper", "authors' count", "95 % interval"),
    *("official", "95 % interval", "without image", "n"),
)
FIRST_NUMBER = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperNumber:
    """The number that was published of the paper's model on what is asked."""

    value: float
    where: str
    questions: int | None
    """Of the published split; None where that is not known."""


def published_of(config: Config, ask: Ask) -> PaperNumber | None:
    """What was published of the part that a data set reads; None where nothing was."""
    benchmark = ask.benchmark
    part = config.data[ask.dataset].part or next(iter(benchmark.parts), "")
    for where, numbers in ((TABLE, benchmark.paper), (LOG, benchmark.authors_log)):
        if part in numbers:
            return PaperNumber(value=numbers[part], where=where, questions=benchmark.parts[part])
    return None


def reproduce(root: Path, profile: Profile, files: AuthorsFiles) -> dict[str, Any]:
    """Ask every checkpoint that is there, in both presets; what was answered before is not asked again.

    Args:
        root: the checkout.
        profile: its benchmarks are asked, as far as a number of theirs is published.
        files: the authors'.

    Returns:
        What ``reproduction.json`` holds.

    Raises:
        UserError: the profile asks none of them or has no shards, or a file is damaged or of another model.
    """
    config = profile.config
    found = {ask.name: one for ask in asks_of(config) if (one := published_of(config, ask)) is not None}
    if not found:
        raise UserError(
            f"profile {profile.name} asks no benchmark that the paper has a number of; --profile reproduce-paper does"
        )
    questions, digests = questions_asked(root, profile, list(found)), published_digests(files)
    stages: dict[str, Any] = {}
    for stage, checkpoint in files.checkpoints.items():
        print(f"{stage}: {checkpoint.name}")
        subject = _subject(config, stage, files, digests)
        report = measure(root, profile, subject, questions, PRESETS, asker=f"tinygptv reproduce {stage}")
        by_preset = {PRESETS[0]: report["benchmarks"], **report["presets"]}
        stages[stage] = {
            "checkpoint": checkpoint.name,
            "image_size": config.stage(stage).image_size,
            "prompt": config.stage(stage).prompt.model_dump(),
            "presets": {preset: _beside(entries, found) for preset, entries in by_preset.items()},
        }
    return {"source": SOURCE, "files": digests, "missing": list(files.missing), "stages": stages}


def _subject(config: Config, stage: str, files: AuthorsFiles, digests: Mapping[str, str]) -> Subject:
    """A checkpoint as a model that can be asked, in the same ways as a stage of the profile."""
    return Subject(
        identity=published_identity(config, stage, files, digests),
        open=partial(open_published, config, stage, files),
        how=partial(stage_asking, config, stage),
    )


def _beside(entries: Mapping[str, Any], found: Mapping[str, PaperNumber]) -> dict[str, Any]:
    """Entries of a report with what was published, and the averages over what table 2 averages."""
    rows = {}
    for name, entry in entries.items():
        told = found[name]
        paper = {"value": told.value, "where": told.where, "questions": told.questions}
        rows[name] = {**entry, "paper": paper, "whole_split": entry["n"] + entry["excluded"] == told.questions}
    counted = [name for name, told in found.items() if told.where == TABLE and name in rows]
    ours = [_theirs(rows[name])[0] for name in counted]
    return {
        "benchmarks": rows,
        "average": {
            "of": counted,
            "authors": _mean(ours),
            "paper": _mean([found[name].value for name in counted]),
        },
    }


def _theirs(entry: Mapping[str, Any]) -> tuple[float | None, Sequence[float] | None]:
    """The number that is to be compared with the paper's, and its interval: the authors' count, where they have one."""
    if entry["authors"]:
        return next(iter(entry["authors"].values())), entry["authors_ci95"]
    return entry["value"], entry["ci95"]


def _mean(values: Sequence[float | None]) -> float | None:
    numbers = [value for value in values if value is not None]
    return round(sum(numbers) / len(numbers), 6) if numbers and len(numbers) == len(values) else None


def _rows(found: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for of_stage in found["stages"].values():
        checkpoint = of_stage["checkpoint"].partition(".")[0]
        for preset, measured in of_stage["presets"].items():
            for name, entry in measured["benchmarks"].items():
                theirs, ends = _theirs(entry)
                without = next((entry[key] for key in BASELINES if entry[key] is not None), None)
                yield (
                    *(checkpoint, preset, name, _share(entry["paper"]["value"])),
                    *(_share(theirs), _ends(ends)),
                    *(f"{_share(entry['value'])} {entry['metric']}", _ends(entry["ci95"]), _share(without)),
                    f"{entry['n']:,}" + ("" if entry["whole_split"] else f" of {entry['paper']['questions']:,}"),
                )
            average = measured["average"]
            of = f"average of {len(average['of'])}"
            numbers = _share(average["paper"]), _share(average["authors"])
            yield (checkpoint, preset, of, *numbers, "", "", "", "", "")


def plain(found: Mapping[str, Any]) -> str:
    """The table for a terminal."""
    return plain_table(HEADER, _rows(found), right=range(FIRST_NUMBER, len(HEADER)))


def markdown(found: Mapping[str, Any]) -> str:
    """The table as a file, with what it is and what it is not."""
    rule = ["---:" if column >= FIRST_NUMBER else "---" for column in range(len(HEADER))]
    rows = "\n".join(f"| {' | '.join(row)} |" for row in (HEADER, rule, *_rows(found)))
    missing = f"\nNot there: {', '.join(found['missing'])}.\n" if found["missing"] else ""
    return (
        "# The authors' checkpoints beside their paper\n\n"
        f"Paper: {found['source']}. Its numbers are counted as the authors count, the official metric is another one. "
        "Fewer questions than the published split has: the files were not the whole of it.\n"
        f"{missing}\n{rows}\n"
    )


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _ends(ends: Sequence[float] | None) -> str:
    return "-".join(map(_share, ends or ()))

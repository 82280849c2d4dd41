"""A package before the whole test set, opened from disk and asked in a process of its own.

It is asked in its own words: prompt, image size and longest answer are those that it was saved with.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from tinygptv.config import Config
from tinygptv.ground import digests
from tinygptv.ground.files import canonical, write_json
from tinygptv.ground.names import LAST_STAGE
from tinygptv.ground.progress import Progress

if TYPE_CHECKING:
    from multiprocessing.synchronize import Event

    from tinygptv.evaluation.questions import Question
    from tinygptv.model.inference import Generated


@dataclass(frozen=True, slots=True)
class PackageJob:
    """What the process that asks a package is given."""

    config: Config
    seed: int
    shards: Path
    package: Path
    answers: Path
    """Gets the predictions, as those of the step ``evaluate`` are."""
    measured: Path
    """Gets how fast they came: ``questions_per_second``, ``tokens_per_second``, ``peak_rss_mib``, and with ``alone``
    ``latency_seconds``."""
    alone: int = 0
    """So many questions of each task are asked a second time, one by one: their median is the latency."""
    shown: str = ""
    """What its progress is shown as; nothing is shown without."""


def answer_all(job: PackageJob, complete: Event | None = None) -> None:
    """Open the package and answer; runs in its own process.

    Args:
        job: what is asked.
        complete: set when the package is whole, where it is still being made: the rest is imported and read meanwhile.

    Raises:
        UserError: the package cannot be opened, or a shard is damaged.
    """
    import resource
    from statistics import median

    from tinygptv.data.summary import TEST
    from tinygptv.evaluation import old_answering as answering
    from tinygptv.evaluation.benchmarks.table import suites_of
    from tinygptv.evaluation.questions import evenly_spaced_list, list_questions, open_split
    from tinygptv.ground import runtime
    from tinygptv.model.inference import VisionLanguageModel

    config = job.config
    runtime.prepare(config.runtime, job.seed)
    suites = suites_of(config.data)
    samples = open_split(job.shards, TEST, suites)
    questions = list_questions(samples.records(), suites)
    if complete is not None:
        complete.wait()
    model = VisionLanguageModel.from_folder(job.package, config.runtime.device)

    def ask(some: Sequence[Question], batch_size: int, on_answers: Callable[[int], None] | None) -> list[Generated]:
        features, longest = answering.ImageFeatures(samples, batch_size), config.stage(LAST_STAGE).max_answer_tokens
        return answering.ask_in_own_words(model, features, some, batch_size, longest, on_answers)

    started = time.monotonic()
    with Progress(job.shown, len(questions), unit="question") if job.shown else nullcontext() as progress:
        said = ask(questions, config.quantize.batch_size, progress.update if progress is not None else None)
    seconds = time.monotonic() - started
    tokens = sum(answer.tokens + (not answer.cut) for answer in said)
    measured = {
        "questions_per_second": len(questions) / seconds,
        "tokens_per_second": tokens / seconds,
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    times = []
    for question in evenly_spaced_list(questions, job.alone):
        started = time.monotonic()
        ask([question], 1, None)
        times.append(time.monotonic() - started)
    if times:
        measured["latency_seconds"] = median(times)
    write_json(job.answers, answering.predictions(questions, said))
    write_json(job.measured, measured)


def package_identity(package: Path) -> str:
    """Digest of all files of a package that decide an answer: of all but its card and the list of their digests."""
    files = sorted(
        path for path in package.iterdir() if path.is_file() and path.name not in ("README.md", digests.LIST)
    )
    return sha256(canonical({path.name: digests.sha256(path) for path in files}).encode()).hexdigest()

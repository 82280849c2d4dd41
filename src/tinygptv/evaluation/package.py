"""A package before the whole test set, opened from disk and asked in a process of its own.

It is asked in its own words: prompt, image size and longest answer are those that it was saved with. Its answers come
out of that process by way of the store, where the next one who asks finds them, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from tinygptv.config import Config
from tinygptv.evaluation.package_card import CARD
from tinygptv.evaluation.presets import asking_of
from tinygptv.evaluation.subjects import Subject
from tinygptv.ground import digests
from tinygptv.ground.errors import DataError
from tinygptv.ground.files import canonical, write_json
from tinygptv.ground.names import LAST_STAGE

if TYPE_CHECKING:
    from multiprocessing.synchronize import Event

    from tinygptv.config import Preset
    from tinygptv.evaluation.asking import OpenModel
    from tinygptv.evaluation.presets import Asking
    from tinygptv.evaluation.questions import Question, Questions
    from tinygptv.model.answerer import Response
    from tinygptv.model.inference import VisionLanguageModel


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageJob:
    """What the process that asks a package is given."""

    config: Config
    seed: int
    shards: Path
    package: Path
    store: Path
    """Folder where answers are kept (``ground.folders.answers_folder``)."""
    asker: str
    """Who asks (``AnswerStore.opened``)."""
    measured: Path
    """Gets ``peak_rss_mib``, with ``alone`` also ``latency_seconds``, and, unless all answers were kept, how fast they
    came: ``questions_per_second``, ``tokens_per_second``."""
    alone: int = 0
    """So many questions of each benchmark are asked a second time, one by one: their median is the latency."""
    shown: str = ""
    """What its progress is shown as; nothing is shown without."""
    beside: tuple[Preset, ...] = ()
    """Presets that it is asked in after the profile's first."""


def answer_all(job: PackageJob, complete: Event | None = None) -> None:
    """Open the package and answer; runs in its own process.

    Args:
        job: what is asked.
        complete: set when the package is whole, where it is still being made: the rest is imported and read meanwhile.

    Raises:
        UserError: the package cannot be opened, or a shard is damaged.
    """
    import resource

    from tinygptv.evaluation.answer_store import AnswerStore
    from tinygptv.evaluation.asking import ask
    from tinygptv.evaluation.sittings import QuestionList, Sitting, answer_ahead
    from tinygptv.ground import runtime
    from tinygptv.model import inference as inference  # now: the package may still be being made

    config = job.config
    runtime.prepare(config.runtime, job.seed)
    meant = QuestionList(config=config, shards=job.shards, split="test")
    questions = meant.open()
    if complete is not None:
        complete.wait()
    subject = folder_subject(config, job.package)
    presets, measured = (config.evaluate.presets[0], *job.beside), {}
    with AnswerStore.opened(job.store, job.asker, config.runtime) as store, subject.kept_open() as opened:
        sittings = [Sitting(subject, preset, meant) for preset in presets]
        speed = answer_ahead(sittings, [questions] * len(presets), store, config, job.seed, job.shown)
        for preset in presets:
            shown, counted = (job.shown, speed) if preset == presets[0] else (job.shown and preset, None)
            for _ in ask(opened.open, opened.identity, questions, opened.how(preset), store, shown, counted):
                pass
        if job.alone and len(questions):
            measured["latency_seconds"] = _latency(opened.open, questions, opened.how(presets[0]), job.alone)
    if speed.questions:
        measured["questions_per_second"] = speed.questions / speed.seconds
        measured["tokens_per_second"] = speed.tokens / speed.seconds
    measured["peak_rss_mib"] = max(speed.peak_rss_mib, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    write_json(job.measured, measured)


def answers_of(job: PackageJob) -> Iterator[tuple[Question, Response]]:
    """The questions in their order with what the package has answered, once ``answer_all`` has ended.

    Raises:
        DataError: answers are gone, or the package is another one.
    """
    from tinygptv.evaluation.answer_store import AnswerStore
    from tinygptv.evaluation.asking import ask

    def is_gone() -> VisionLanguageModel:
        raise DataError(f"{job.store}: answers of {job.package} went while they were read; run the command again")

    with AnswerStore.opened(job.store, job.asker, job.config.runtime) as store:
        yield from ask(is_gone, package_identity(job.package), *_asked(job), store)


def package_identity(package: Path) -> str:
    """Digest of all files of a package that decide an answer: of all but its card and the list of their digests."""
    files = sorted(path for path in package.iterdir() if path.is_file() and path.name not in (CARD, digests.LIST))
    return sha256(canonical({path.name: digests.sha256(path) for path in files}).encode()).hexdigest()


def package_asking(config: Config, preset: Preset) -> Asking:
    """How a package is asked: the longest answer is its own, and so is the prompt, or it is the preset's."""
    return asking_of(
        preset,
        None,
        batch_size=config.quantize.batch_size,
        max_new_tokens=None,
        max_answer_tokens=config.stage(LAST_STAGE).max_answer_tokens,
    )


def folder_subject(config: Config, folder: Path) -> Subject:
    """A package in 16 or 8 bits, or what `tinygptv import-checkpoint` made of the authors' files.

    Raises:
        UserError: it is none, or is damaged.
    """
    from tinygptv.model.inference import VisionLanguageModel
    from tinygptv.model.package import check_files

    check_files(folder)
    return Subject(
        identity=package_identity(folder),
        open=partial(VisionLanguageModel.from_folder, folder, config.runtime.device),
        how=partial(package_asking, config),
    )


def _asked(job: PackageJob) -> tuple[Questions, Asking]:
    from tinygptv.evaluation.benchmarks.table import asks_of
    from tinygptv.evaluation.questions import open_questions

    config = job.config
    return open_questions(job.shards, "test", asks_of(config)), package_asking(config, config.evaluate.presets[0])


def _latency(opened: OpenModel, questions: Questions, how: Asking, count: int) -> float:
    """Median of the seconds that a question asked alone takes."""
    from statistics import median

    from tinygptv.evaluation.asking import Speed, ask
    from tinygptv.evaluation.questions import evenly_spaced

    some, times = evenly_spaced(questions, count), []
    for number in range(len(some)):
        speed = Speed()
        list(ask(opened, "", some[number : number + 1], replace(how, batch_size=1), None, speed=speed))
        times.append(speed.seconds)
    return median(times)

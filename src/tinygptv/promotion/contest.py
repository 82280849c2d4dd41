"""Packages before the same questions: each opened and asked in a fresh process, right and wrong told apart here.

A package is asked in its own words: prompt, image size and longest answer are those that it was saved with.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from tinygptv.config import Config
from tinygptv.data.summary import HELD_OUT, TEST, TRAINING, sets, tars
from tinygptv.evaluation.package import PackageJob, answer_all
from tinygptv.ground.children import child
from tinygptv.ground.errors import DataError
from tinygptv.ground.files import read_json, tree_size
from tinygptv.promotion.decide import Asked, Measured

if TYPE_CHECKING:
    from tinygptv.evaluation.questions import Question

ALONE = 8
"""Questions of each task that are also asked one at a time, for the latency."""


@dataclass(frozen=True, slots=True)
class Exam:
    """What packages are asked, and how."""

    config: Config
    seed: int
    shards: Path


@dataclass(frozen=True, slots=True)
class Answers:
    """A package's answers, before anybody has judged them."""

    ids: tuple[str, ...]
    texts: tuple[str, ...]
    latency_seconds: float


Examine = Callable[[Exam, Path], Answers]
"""How a package is asked; tests put something in its place."""


def questions_of(exam: Exam) -> list[Question]:
    """The questions of the test set, in their order.

    Raises:
        DataError: the test set is missing or damaged, or has no question of a benchmark.
    """
    from tinygptv.evaluation.benchmarks.table import suites_of
    from tinygptv.evaluation.questions import list_test_set

    _tars(exam.shards, TEST)
    suites = suites_of(exam.config.data)
    questions = list_test_set(exam.shards, suites)
    if not questions:
        tasks = dict.fromkeys(task for suite in suites.values() for task in suite.names)
        known = f"of the tasks {', '.join(tasks)}" if tasks else "that a benchmark asks"
        raise DataError(f"{exam.shards}: the test set has no question {known}; add some")
    return questions


def asked(questions: Sequence[Question]) -> Asked:
    """The questions as the gate sees them."""
    return Asked(
        [identity(question.record, question.content) for question in questions],
        [question.benchmark for question in questions],
        [question.key for question in questions],
    )


def identity(record: str, content: str) -> str:
    """A name for a question: its record, and what is asked."""
    return f"{record}: {content}"


def seen_images(exam: Exam) -> int:
    """How many of the test images that are asked about are also among those that were there to train with, by content.

    Raises:
        DataError: a shard is missing or damaged.
    """
    from tinygptv.evaluation.benchmarks.table import suites_of

    asked_sets = suites_of(exam.config.data).keys() & sets(exam.shards).keys()
    test = Counter(_images(_tars(exam.shards, TEST, asked_sets)))
    training = [*_tars(exam.shards, TRAINING), *_tars(exam.shards, HELD_OUT, needed=False)]
    return sum(test[sha256] for sha256 in {sha256 for sha256 in _images(training) if sha256 in test})


def examine(exam: Exam, package: Path) -> Answers:
    """Let a package answer the whole test set, in a process of its own.

    Raises:
        UserError: the package cannot be opened; the reason is on stderr.
    """
    with TemporaryDirectory(prefix="tinygptv-") as temporary:
        answers, measured = Path(temporary) / "answers.json", Path(temporary) / "measured.json"
        with child(answer_all, PackageJob(exam.config, exam.seed, exam.shards, package, answers, measured, ALONE)):
            pass
        said: list[dict[str, Any]] = read_json(answers)
        latency = float(read_json(measured)["latency_seconds"])
    ids = tuple(identity(entry["record"], entry["question"]) for entry in said)
    return Answers(ids, tuple(str(entry["answer"]) for entry in said), latency)


def judge(questions: Sequence[Question], answers: Answers, package: Path, unquantized: Path | None) -> Measured:
    """Right and wrong, and what else the gate wants to know.

    Args:
        questions: what was asked.
        answers: a package's answers.
        package: the package.
        unquantized: the step ``evaluate``'s predictions of the same model before it was quantized.

    Raises:
        DataError: the predictions are those of other questions.
    """
    from tinygptv.evaluation.metrics import agreement
    from tinygptv.evaluation.scores import former_answers, is_right

    count = min(len(questions), len(answers.texts))  # the gate refuses what is not all of them
    paired = zip(questions[:count], answers.texts[:count], strict=True)
    agreed = None
    if unquantized is not None and len(answers.texts) == len(questions):
        former = former_answers(questions, read_json(unquantized))
        if former is None:
            raise DataError(f"{unquantized} answers other questions than the test set has; run `dvc repro evaluate`")
        agreed = agreement(answers.texts, former)
    return Measured(
        ids=answers.ids,
        right=[is_right(question, text) for question, text in paired],
        package_bytes=tree_size(package),
        latency_seconds=answers.latency_seconds,
        agreement=agreed,
    )


def _tars(shards: Path, split: str, names: Collection[str] | None = None, *, needed: bool = True) -> list[Path]:
    """The tars of a split, of the data sets of these names or of all."""
    folders = [folder for name, folder in sets(shards).items() if names is None or name in names]
    found = [path for folder in folders for path in tars(folder, split)]
    if needed and not found:
        raise DataError(f"{shards} has no {split}; run `dvc repro shards`")
    return found


def _images(paths: Iterable[Path]) -> Iterator[str]:
    """SHA-256 of the image of every sample that has one."""
    from tinygptv.data.shards import read_records

    for path in paths:  # one by one: an image may be in several data sets
        yield from (sample.image.sha256 for sample in read_records([path]) if sample.image is not None)

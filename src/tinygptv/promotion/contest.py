"""Packages before the same questions: each opened and asked in a fresh process, right and wrong told apart here.

A package is asked in its own words: prompt, image size and longest answer are those that it was saved with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from tinygptv.config import Config
from tinygptv.data.summary import TEST, sets, tars
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

    if not any(tars(folder, TEST) for folder in sets(exam.shards).values()):
        raise DataError(f"{exam.shards} has no {TEST}; run `dvc repro shards`")
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

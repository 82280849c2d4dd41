"""Packages before the same questions: each asked in a process of its own, its answers counted here as they come.

A package is asked in its own words: prompt, image size and longest answer are those that it was saved with. What it has
answered before, such as in the step ``quantize``, it is not asked again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from tinygptv.config.profiles import Profile
from tinygptv.evaluation.package import PackageJob, answer_all, answers_of
from tinygptv.ground.children import child
from tinygptv.ground.errors import DataError
from tinygptv.ground.files import read_json, tree_size
from tinygptv.ground.folders import answers_folder
from tinygptv.promotion.decide import Asked, Measured

if TYPE_CHECKING:
    from tinygptv.evaluation.questions import Question, Questions
    from tinygptv.model.answerer import Response

ALONE = 8
"""Questions of each benchmark that are also asked one at a time, for the latency."""


@dataclass(frozen=True, slots=True)
class Exam:
    """What packages are asked, and how."""

    root: Path
    """The checkout, which keeps answers."""
    profile: Profile
    shards: Path
    questions: Questions
    asker: str = "challenger"
    """As whom it is asked: the answers of each are kept until the next one is (``AnswerStore.opened``)."""


@dataclass(frozen=True, slots=True)
class Answers:
    """A package's answers, before anybody has judged them."""

    questions: str
    """Digest of those that it was asked."""
    given: Iterable[tuple[Question, Response]]
    """In their order."""
    latency_seconds: float


Examine = Callable[[Exam, Path], Answers]
"""How a package is asked; tests put something in its place."""


def exam_of(root: Path, profile: Profile, shards: Path) -> Exam:
    """The test set's questions.

    Raises:
        DataError: the test set is missing or damaged, or has no question of a benchmark.
    """
    from tinygptv.evaluation.benchmarks.table import asks_of
    from tinygptv.evaluation.questions import open_questions

    asks = asks_of(profile.config)
    questions = open_questions(shards, "test", asks)
    if not len(questions):
        names = ", ".join(ask.name for ask in asks) or "a benchmark; `evaluate.benchmarks` names none"
        raise DataError(f"{shards} has no test question of {names}; run `dvc repro shards`")
    return Exam(root, profile, shards, questions)


def examine(exam: Exam, package: Path) -> Answers:
    """Let a package answer the whole test set, in a process of its own.

    Raises:
        UserError: the package cannot be opened; the reason is on stderr.
    """
    with TemporaryDirectory(prefix="tinygptv-") as temporary:
        measured = Path(temporary) / "measured.json"
        job = PackageJob(
            config=exam.profile.config,
            seed=exam.profile.seed,
            shards=exam.shards,
            package=package,
            store=answers_folder(exam.root, exam.profile.name),
            asker=exam.asker,
            measured=measured,
            alone=ALONE,
        )
        with child(answer_all, job):
            pass
        latency = float(read_json(measured)["latency_seconds"])
    return Answers(exam.questions.digest, answers_of(job), latency)


def judge(exam: Exam, answers: Answers, package: Path, unquantized: Path | None) -> Measured:
    """What the answers are worth, and what else the gate wants to know.

    Args:
        exam: what was asked.
        answers: a package's answers.
        package: the package.
        unquantized: the step ``evaluate``'s predictions of the same model before it was quantized.

    Raises:
        DataError: the predictions are those of other questions.
    """
    from tinygptv.evaluation.predictions import Agreement
    from tinygptv.evaluation.scores import Judge

    counted = Judge(exam.questions.asks, {}, exam.profile.config.evaluate.presets[0])
    agreement = Agreement(unquantized) if unquantized is not None else None
    answered = 0
    for question, response in answers.given:
        answered += 1
        counted.add(question, response)
        if agreement is not None:
            agreement(question, response)
    whole = answered == len(exam.questions)  # the gate refuses what is not all of them
    return Measured(
        answered=answered,
        digest=answers.questions,
        columns={name: counted.columns(name) for name in exam.questions.counts()},
        package_bytes=tree_size(package),
        latency_seconds=answers.latency_seconds,
        agreement=agreement.result()["value"] if agreement is not None and whole else None,
    )


def asked(exam: Exam) -> Asked:
    """The questions as the gate sees them."""
    return Asked(count=len(exam.questions), digest=exam.questions.digest)

"""Packages before the same questions: each opened and asked in a fresh process, right and wrong told apart here.

A package is asked in its own words: prompt, image size and longest answer are those that it was saved with.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from tinygptv.config import Config
from tinygptv.ground.children import child
from tinygptv.ground.errors import DataError
from tinygptv.ground.files import read_json, tree_size, write_json
from tinygptv.promotion.decide import Asked, Measured

if TYPE_CHECKING:
    from tinygptv.evaluation.benchmarks import Question

TEST, TRAINING, HELD_OUT = "test-*.tar", "train-*.tar", "val-*.tar"
ALONE = 8
"""Questions of each task that are also asked one at a time, for the latency."""


@dataclass(frozen=True, slots=True)
class Exam:
    """What packages are asked, and how."""

    config: Config
    seed: int
    shards: Path


@dataclass(frozen=True, slots=True)
class ExamJob:
    """What the asking process needs."""

    exam: Exam
    package: Path
    answers: Path


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
    from tinygptv.data.shards import read_records
    from tinygptv.evaluation.benchmarks import BENCHMARKS, list_questions

    questions = list_questions(read_records(_tars(exam.shards, TEST)))
    if not questions:
        raise DataError(f"{exam.shards}: the test set has no question of the tasks {', '.join(BENCHMARKS)}; add some")
    return questions


def asked(questions: Sequence[Question]) -> Asked:
    """The questions as the gate sees them."""
    from tinygptv.evaluation.benchmarks import BENCHMARKS

    return Asked(
        [identity(question) for question in questions],
        [BENCHMARKS[question.task] for question in questions],
        [question.key for question in questions],
    )


def identity(question: Question) -> str:
    """A name for a question: its record, and what is asked."""
    return f"{question.record}: {question.content}"


def seen_images(shards: Path) -> int:
    """How many test images are also among those that were there to train with, by content.

    Raises:
        DataError: a shard is missing or damaged.
    """
    from tinygptv.data.shards import read_records
    from tinygptv.data.summary import tars

    training = [*_tars(shards, TRAINING), *tars(shards, HELD_OUT)]
    known = {record.image.sha256 for record in read_records(training)}
    return sum(record.image.sha256 in known for record in read_records(_tars(shards, TEST)))


def examine(exam: Exam, package: Path) -> Answers:
    """Let a package answer the whole test set, in a process of its own.

    Raises:
        UserError: the package cannot be opened; the reason is on stderr.
    """
    with TemporaryDirectory(prefix="tinygptv-") as temporary:
        job = ExamJob(exam, package, Path(temporary) / "answers.json")
        with child(answer_all, job):
            pass
        found: dict[str, Any] = read_json(job.answers)
    return Answers(tuple(found["ids"]), tuple(found["texts"]), float(found["latency_seconds"]))


def answer_all(job: ExamJob) -> None:
    """Open the package and answer; runs in its own process."""
    from statistics import median

    import torch

    from tinygptv.data.shards import read_samples
    from tinygptv.data.tasks import instruction
    from tinygptv.evaluation.answering import encode
    from tinygptv.evaluation.benchmarks import evenly_spaced, list_questions
    from tinygptv.ground import runtime
    from tinygptv.model.inference import VisionLanguageModel

    config = job.exam.config
    runtime.prepare(config.runtime, job.exam.seed)
    samples = {sample.key: sample for sample in read_samples(_tars(job.exam.shards, TEST))}
    questions = list_questions([sample.record for sample in samples.values()])
    model = VisionLanguageModel.from_folder(job.package, config.runtime.device)

    def ask(some: Sequence[Question], batch_size: int) -> list[str]:
        features = encode(model, [samples[key] for key in dict.fromkeys(q.key for q in some)], batch_size)
        asked = [
            model.prompt_ids(
                instruction(q.task, q.content),
                [(instruction(q.task, turn.question), turn.answer) for turn in q.earlier],
                max_answer_tokens=config.stage4.max_answer_tokens,
            )
            for q in some
        ]
        said = model.generate(torch.stack([features[q.key] for q in some]), asked, batch_size=batch_size)
        return [answer.text for answer in said]

    texts = ask(questions, config.quantize.batch_size)
    times = []
    for question in evenly_spaced(questions, ALONE):
        started = time.monotonic()
        ask([question], 1)
        times.append(time.monotonic() - started)
    ids = [identity(question) for question in questions]
    write_json(job.answers, {"ids": ids, "texts": texts, "latency_seconds": median(times)})


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
    from tinygptv.evaluation.benchmarks import is_right
    from tinygptv.evaluation.metrics import agreement

    count = min(len(questions), len(answers.texts))  # the gate refuses what is not all of them
    paired = zip(questions[:count], answers.texts[:count], strict=True)
    agreed = None
    if unquantized is not None and len(answers.texts) == len(questions):
        former: list[dict[str, Any]] = read_json(unquantized)
        if [f"{entry['record']}: {entry['question']}" for entry in former] != [identity(q) for q in questions]:
            raise DataError(f"{unquantized} answers other questions than the test set has; run `dvc repro evaluate`")
        agreed = agreement(answers.texts, [str(entry["answer"]) for entry in former])
    return Measured(
        ids=answers.ids,
        right=[is_right(question, text) for question, text in paired],
        package_bytes=tree_size(package),
        latency_seconds=answers.latency_seconds,
        agreement=agreed,
    )


def _tars(shards: Path, pattern: str) -> list[Path]:
    from tinygptv.data.summary import tars

    found = tars(shards, pattern)
    if not found:
        raise DataError(f"{shards} has no {pattern}; run `dvc repro shards`")
    return found

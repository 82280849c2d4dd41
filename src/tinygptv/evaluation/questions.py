"""Which questions are asked of which records, and what is told of those that nobody asks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tinygptv.data.samples import Samples
from tinygptv.data.shards import read_records
from tinygptv.data.summary import HELD_OUT, TEST, TRAINING, sets, tars
from tinygptv.data.views import viewed_tars
from tinygptv.evaluation.baselines import Baselines, TrainingAnswers
from tinygptv.evaluation.benchmarks.table import LABELS

if TYPE_CHECKING:
    from tinygptv.data.records import ImageRecord, Turn
    from tinygptv.evaluation.benchmarks.suite import Suite


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One thing to ask about one image."""

    dataset: str
    key: str
    """The data set's sample with the image."""
    record: str
    task: str
    benchmark: str
    content: str
    """What goes into the task's instruction template: a question, an expression, or nothing."""
    truth: str
    type: str
    """The kind of question by which its benchmark tells its figures apart; empty: it does not."""
    earlier: tuple[Turn, ...] = ()
    """The record's turns before it: a later question of a conversation is asked after them, as it is trained."""


def open_split(shards: Path, split: str, suites: Mapping[str, Suite]) -> Samples:
    """The samples of a split that benchmarks ask about.

    Args:
        shards: a folder of shards.
        split: pattern of its tars, such as ``TEST``.
        suites: name of a data set → what is asked of it; other sets are left out.

    Raises:
        DataError: a shard is missing or damaged, or a data set is not the one of the view of ``evaluate``.
    """
    return Samples(viewed_tars(shards, "evaluate", split, suites))


def list_test_set(shards: Path, suites: Mapping[str, Suite]) -> list[Question]:
    """The questions of the test set, in their order.

    Raises:
        DataError: a shard is damaged.
    """
    return list_questions(open_split(shards, TEST, suites).records(), suites)


def list_questions(samples: Iterable[ImageRecord], suites: Mapping[str, Suite]) -> list[Question]:
    """Every question about the samples, in their order; a record of several turns asks several.

    Args:
        samples: what is asked about.
        suites: name of a data set → what is asked of it.
    """
    return [
        Question(
            dataset=sample.dataset,
            key=sample.key,
            record=record.id,
            task=record.task,
            benchmark=suite.names[record.task],
            content=turn.question,
            truth=turn.answer,
            type=suite.type_of(record.task, turn.question, turn.answer),
            earlier=record.turns[:place],
        )
        for sample in samples
        if (suite := suites.get(sample.dataset)) is not None
        for record in sample.records
        if record.task in suite.names
        for place, turn in enumerate(record.turns)
    ]


def evenly_spaced(questions: Sequence[Question], limit: int) -> list[Question]:
    """At most ``limit`` questions of each benchmark, evenly spread over the list: the same ones in every run."""
    chosen: list[Question] = []
    for name in dict.fromkeys(question.benchmark for question in questions):
        of_it = [question for question in questions if question.benchmark == name]
        count = min(limit, len(of_it))
        chosen += [of_it[index * len(of_it) // count] for index in range(count)]
    return chosen


def read_baselines(shards: Path, suites: Mapping[str, Suite]) -> tuple[Baselines, Baselines]:
    """Baselines of the images that train, for the held-out slice, and of all training images, for the test set.

    Raises:
        DataError: a shard is damaged, or a data set is not the one of the view of ``evaluate``.
    """
    answers = TrainingAnswers()
    chosen = []
    for split in (TRAINING, HELD_OUT):
        for paths in viewed_tars(shards, "evaluate", split, suites).values():
            answers.add(record for sample in read_records(paths) for record in sample.records)
        chosen.append(answers.baselines())
    return chosen[0], chosen[1]


def left_out(
    where: str, questions: Sequence[Question], baselines: Baselines, suites: Mapping[str, Suite], others: Iterable[str]
) -> list[str]:
    """A line for each benchmark that is not in the report, or stands there without what it is to be compared with.

    Args:
        where: what is asked.
        questions: its questions.
        baselines: answers that need no image.
        suites: name of a data set → what is asked of it.
        others: data sets with samples there that no benchmark asks.
    """
    lines = [f"{where}: no benchmark asks the records of {name}; they are left out" for name in others]
    asked = {question.benchmark for question in questions}
    expected = {name: task for suite in suites.values() for task, name in suite.names.items()}
    for name in (name for name in LABELS if name in expected):
        if name not in asked:
            lines.append(f"{where}: no record of the task {expected[name]}; {name} is left out")
        elif baselines.constant(expected[name]) is None:
            lines.append(f"{where}: no training record of the task {expected[name]}; {name} has no baseline")
    return lines or ([] if suites else [f"{where}: no data set of the profile has a benchmark; nothing is asked"])


def without_benchmark(shards: Path, split: str, suites: Mapping[str, Suite]) -> list[str]:
    """The data sets that have tars of a split which no benchmark asks.

    Raises:
        DataError: a tar is missing.
    """
    return [name for name, folder in sets(shards).items() if name not in suites and tars(folder, split)]

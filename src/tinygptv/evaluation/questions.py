"""What is asked of the shards' splits, and what answers without an image would reach there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tinygptv.data.shards import read_records
from tinygptv.data.summary import HELD_OUT, TEST, TRAINING, tars
from tinygptv.evaluation.benchmarks import BENCHMARKS, Baselines, Question, fit_baselines, list_questions


def list_test_set(shards: Path) -> list[Question]:
    """The questions of the test set, in their order.

    Raises:
        DataError: a shard is damaged.
    """
    return list_questions(read_records(tars(shards, TEST)))


def read_baselines(shards: Path) -> tuple[Baselines, Baselines]:
    """Baselines of the images that train, for the held-out slice, and of all training images, for the test set.

    Raises:
        DataError: a shard is damaged.
    """
    trained = [r for image in read_records(tars(shards, TRAINING)) for r in image.records]
    held_out = [r for image in read_records(tars(shards, HELD_OUT)) for r in image.records]
    return fit_baselines(trained), fit_baselines(trained + held_out)


def left_out(where: str, questions: Sequence[Question], baselines: Baselines) -> list[str]:
    """A line for each benchmark that is not in the report, or stands there without what it is to be compared with."""
    lines, asked = [], {question.task for question in questions}
    for task, name in BENCHMARKS.items():
        if task not in asked:
            lines.append(f"{where}: no record of the task {task}; {name} is left out")
        elif baselines.constant(task) is None:
            lines.append(f"{where}: no training record of the task {task}; {name} has no baseline")
    return lines

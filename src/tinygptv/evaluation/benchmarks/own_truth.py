"""What is right, as a benchmark is given it, of records that the files of no benchmark stand behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tinygptv.data.records import Record
    from tinygptv.evaluation.benchmarks.seam import Truth


def question_truth(record: Record, turn: int) -> Truth:
    """What is right of a record's turn.

    Returns:
        What the files of its benchmark say, where they say something; else ``answer``, the one that is asked for, and
        ``answers``, all that are right with their weights.
    """
    if record.annotation:
        return record.annotation
    asked = record.turns[turn]
    return {"answer": asked.answer, "answers": dict(asked.accepted or ((asked.answer, 1.0),))}

"""Answers that need no image: which ones are chosen, and which of equals."""

from collections import Counter

from tinygptv.data.records import Record, Turn
from tinygptv.evaluation.baselines import Baselines, TrainingAnswers, best_constant_box
from tinygptv.evaluation.questions import Question


def chosen(*records: Record) -> Baselines:
    answers = TrainingAnswers()
    answers.add(records)
    return answers.baselines()


def asked(content: str) -> Question:
    return Question(
        dataset="cats", key="k", record="r", task="vqa", benchmark="b", content=content, truth="yes", type="other"
    )


def test_ties_go_to_the_first_and_unseen_questions_to_the_majority():
    found = chosen(
        Record("a", "vqa", (Turn("q", "b"), Turn("q", "a"), Turn("p", "c"), Turn("p", "c"))),
        Record("r", "refer", (Turn("x", "{<0><0><100><100>}"),)),
        Record("c", "caption", (Turn("", "a shape"),)),
        Record("i", "identify", (Turn("{<0><0><100><100>}", "a shape"),)),
    )
    assert found.blind == {"q": "b", "p": "c"}
    assert [found.constant(task) for task in ("vqa", "refer", "caption")] == ["c", "{<0><0><100><100>}", "a shape"]
    assert [found.question_only(asked(text)) for text in ("q", "never")] == ["b", "c"]


def test_more_records_can_follow():
    answers = TrainingAnswers()
    answers.add([Record("a", "vqa", (Turn("q", "yes"),))])
    before = answers.baselines()
    answers.add([Record("b", "vqa", (Turn("q", "no"), Turn("q", "no")))])
    assert (before.majority, answers.baselines().majority) == ("yes", "no")


def test_without_training_records_a_task_has_no_baseline():
    found = chosen(Record("r", "refer", (Turn("x", "somewhere"),)))
    assert (found.majority, found.blind, found.box, found.caption) == (None, {}, None, None)


def test_the_constant_box_is_the_best_candidate():
    # The medians give (20, 20, 30, 30), which is right twice; the square of 20 in the centre is right three times.
    boxes = {(40, 40, 60, 60): 3, (0, 0, 10, 10): 2, (20, 20, 30, 30): 2}
    assert best_constant_box(Counter(boxes)) == (40, 40, 60, 60)
    assert best_constant_box(Counter({(0, 0, 90, 100): 2})) == (0, 0, 100, 100)
    assert best_constant_box(Counter({(10, 20, 30, 40): 1})) == (10, 20, 30, 40)

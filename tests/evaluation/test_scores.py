"""What a report holds of answers, and how it is said in one line."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tinygptv.evaluation import scores
from tinygptv.evaluation.baselines import Baselines
from tinygptv.evaluation.questions import Question

BASELINES = Baselines(majority="red", blind={"what color?": "blue"}, box=None, caption="a red circle")
COLOUR = Question(
    dataset="easy_vqa",
    key="image-0",
    record="record-0",
    task="vqa",
    benchmark="easy_vqa",
    content="what color?",
    truth="blue",
    type="what-colour",
)
CAPTION = replace(
    COLOUR, record="record-1", task="caption", benchmark="easy_vqa_caption", content="", truth="a blue circle", type=""
)
BOX = replace(
    COLOUR, record="record-2", task="refer", benchmark="easy_vqa_refer", content="cat", truth="{<1><1><5><5>}", type=""
)


def test_a_report_has_benchmarks_and_types():
    found = scores.judged([COLOUR, CAPTION], ["blue", "a red circle"], [False, True], BASELINES)
    assert list(found) == ["benchmarks", "by_type"]
    assert {name: (entry["value"], entry["cut"]) for name, entry in found["benchmarks"].items()} == {
        "easy_vqa": (1.0, 0),
        "easy_vqa_caption": (0.0, 1),
    }
    assert list(found["by_type"]) == ["what-colour"] and "cut" not in found["by_type"]["what-colour"]
    assert scores.values(found["benchmarks"]) == {"easy_vqa": 1.0, "easy_vqa_caption": 0.0}
    assert scores.for_run(found["benchmarks"], "stage1.") == {
        "stage1.easy_vqa": 1.0,
        "stage1.easy_vqa_caption": 0.0,
        "stage1.easy_vqa.cut": 0,
        "stage1.easy_vqa_caption.cut": 1,
    }
    assert scores.line(found["benchmarks"]) == (
        "easy_vqa 1.0000 (majority 0.0000, blind 1.0000, n 1), "
        "easy_vqa_caption 0.0000 (trivial 0.0000, n 1, 1 cut at evaluate.max_new_tokens)"
    )


def test_answers_are_compared_as_a_whole_and_by_benchmark():
    questions = [COLOUR, replace(COLOUR, record="record-2"), CAPTION]
    found = scores.compared(questions, ["blue", "red", "x"], ["blue ", "blue", "x"])
    assert found == {"value": 0.666667, "n": 3, "by_benchmark": {"easy_vqa": 0.5, "easy_vqa_caption": 1.0}}
    assert scores.agreed(found) == "Answers equal to the unquantized model's: 0.6667."


def test_nothing_to_compare_is_said():
    found = scores.compared([], [], [])
    assert found == {"value": None, "n": 0, "by_benchmark": {}}
    assert "nothing was compared" in scores.agreed(found)


@pytest.mark.parametrize("other", [{"record": "another"}, {"question": "what shape?"}, None])
def test_former_answers_are_those_of_the_same_questions(other):
    entry = {"record": "record-0", "question": "what color?", "answer": "blue", "more": 1}
    assert scores.former_answers([COLOUR], [entry]) == ["blue"]
    assert scores.former_answers([COLOUR], [] if other is None else [entry | other]) is None


def test_boxes_are_judged_by_overlap_and_words_by_equality():
    assert scores.is_right(BOX, "{<1><1><5><4>}")
    assert not scores.is_right(BOX, "it is {<1><1><5><5>}")
    assert not scores.is_right(CAPTION, "A blue circle")


def test_a_truth_that_is_no_box_is_compared_as_text():
    two = replace(BOX, truth="{<1><1><5><5>} {<6><6><9><9>}")
    assert scores.is_right(two, two.truth)
    assert not scores.is_right(two, "{<1><1><5><5>}")


def test_a_task_without_a_baseline_is_scored_without_one():
    nothing = Baselines(majority=None, blind={}, box=None, caption=None)
    entries = scores.score([COLOUR, CAPTION, BOX], ["blue", "a blue circle", BOX.truth], nothing)
    assert list(entries) == ["easy_vqa", "easy_vqa_refer", "easy_vqa_caption"]
    assert {(e["value"], e["majority"], e["blind"], e["trivial"]) for e in entries.values()} == {
        (1.0, None, None, None)
    }


def test_no_questions_no_entries():
    assert scores.score([], [], BASELINES) == {}
    assert scores.score_by_type([], [], BASELINES) == {}


def test_every_question_needs_an_answer():
    with pytest.raises(ValueError, match="1 answers"):
        scores.score([COLOUR, CAPTION], ["yes"], BASELINES)

"""What a report holds of answers, and how it is said in one line."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tinygptv.evaluation import scores
from tinygptv.evaluation.benchmarks import Baselines, Question

BASELINES = Baselines(majority="red", blind={"what color?": "blue"}, box=None, caption="a red circle")
COLOUR = Question("image-0", "record-0", "vqa", "what color?", "blue", "what-colour")
CAPTION = Question("image-0", "record-1", "caption", "", "a blue circle", "")


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

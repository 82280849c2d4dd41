from __future__ import annotations

from collections import Counter

import pytest

from tinygptv.data.records import Record, Turn
from tinygptv.ground.errors import UserError
from tinygptv.own_data.judging import caption_entry, judge, without_picture
from tinygptv.own_data.reading import Reading

LONG = "a cat that lies on the red chair beside the window"


def read(task: str, *turns: tuple[str, str], texts: int = 0) -> Reading:
    sample = [Record(f"r{number}", task, (Turn(*turn),)) for number, turn in enumerate(turns)]
    return Reading(found=len(turns), tasks=Counter({task: len(turns)}), texts=texts, sample=sample)


def test_short_answers_of_conversations_are_questions_by_themselves():
    judged = judge("cats", read("conversation", ("what?", "a cat"), ("what?", "a cat"), ("how many?", "2")), None)
    assert (judged.task, judged.benchmark) == ("vqa", None)
    assert judged.least == {"cats": 0.69}  # two of three are the most frequent answer


def test_a_task_that_is_said_stays():
    judged = judge("cats", read("conversation", ("what?", "a cat"), ("what?", "a dog")), "conversation")
    assert (judged.task, judged.benchmark) == ("conversation", "exact_match")


def test_conversations_without_a_picture_stay_conversations():
    judged = judge("cats", read("conversation", ("what?", "a cat"), ("what?", "a dog"), texts=1), None)
    assert (judged.task, judged.benchmark) == (None, "exact_match")


def test_sentences_are_judged_by_likeness(monkeypatch):
    turns = [("describe it", f"{LONG} {number}") for number in range(5)]
    judged = judge("cats", read("conversation", *turns), None)
    assert (judged.task, judged.benchmark, judged.least) == (None, "captions", {"cats": 0.05})
    assert judge("cats", read("caption", *turns), None).benchmark == "captions"
    monkeypatch.setattr("tinygptv.evaluation.metrics.captions.HAS_PACKAGE", False)
    judged = judge("cats", read("caption", *turns), None)
    assert (judged.benchmark, judged.least) == ("exact_match", {"cats": 0.0})
    assert "tinygptv[captions]" in judged.why


def test_captions_that_come_again_are_compared():
    judged = judge(
        "cats", read("caption", *[("", f"a {colour} shape, seen from far above") for colour in "aabbcc"]), None
    )
    assert (judged.benchmark, judged.least) == (None, {"cats_caption": 0.35})


def test_boxes_are_judged_by_overlap():
    boxes = ["{<10><10><20><20>}", "{<70><70><90><90>}", "{<10><10><20><20>}", "{<40><40><60><60>}"]
    judged = judge("cats", read("refer", *[("the cat", box) for box in boxes]), None)
    assert judged.benchmark is None
    assert set(judged.least) == {"cats_refer"}
    assert 0.2 < judged.least["cats_refer"] < 0.3


def test_what_no_benchmark_knows_is_asked_by_its_text():
    judged = judge("cats", read("identify", ("{<1><2><3><4>}", "a cat"), ("{<1><2><3><5>}", "a dog")), None)
    assert judged.benchmark == "exact_match"


def test_a_guess_knows_the_other_answers_and_not_its_own():
    assert without_picture([(f"what is {number}?", f"{number}") for number in range(9)]) == pytest.approx(1 / 9)
    assert without_picture([("what?", "a"), ("what?", "a"), ("who?", "b"), ("who?", "b")]) == 1.0
    assert without_picture([]) == 0.0


def test_earlier_stages_need_captions():
    assert caption_entry("cats", "stage3", {"align"}, read("caption", ("", "a"))) == "cats/align"
    assert caption_entry("cats", "stage1", {"caption"}, read("caption", ("", "a"))) == "cats/caption"
    with pytest.raises(UserError, match="stage1 trains on captions, and these data have none"):
        caption_entry("cats", "stage1", {"caption"}, read("vqa", ("what?", "a")))

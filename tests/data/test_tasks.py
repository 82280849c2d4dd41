"""Instruction templates: the paper's, in number and in form."""

from __future__ import annotations

import pytest

from tinygptv.config import Task
from tinygptv.data.records import TASKS
from tinygptv.data.tasks import TEMPLATES, as_instruction, check_question, instruction, record_task, takes_question
from tinygptv.ground.errors import DataError

COUNTS = {
    "vqa": 2,
    "caption": 17,
    "refer": 7,
    "identify": 7,
    "grounding": 4,
    "detection": 1,
    "align": 4,
    "conversation": 1,
}


def test_counts_are_the_papers() -> None:
    assert {task: len(templates) for task, templates in TEMPLATES.items()} == COUNTS
    assert {*TEMPLATES} == {*TASKS, "align"}
    assert all(len(set(templates)) == len(templates) for templates in TEMPLATES.values())


def test_a_conversation_is_the_users_text_as_it_stands() -> None:
    assert instruction("conversation", "[vqa] {} is this?") == "[vqa] {} is this?"


@pytest.mark.parametrize("task", [task for task in TASKS if task != "conversation"])
def test_tasks_begin_with_their_mark(task: Task) -> None:
    assert all(template.startswith(f"[{task}] ") for template in TEMPLATES[task])
    needs_content = task in {"vqa", "refer", "identify", "detection"}
    assert all(template.count("{}") == needs_content for template in TEMPLATES[task])


def test_alignment_has_no_mark_and_draws_from_captions() -> None:
    assert not any("[" in template or "{}" in template for template in TEMPLATES["align"])
    assert record_task("align") == "caption"
    assert [record_task(task) for task in TASKS] == list(TASKS)


def test_content_goes_in_once_and_as_it_is() -> None:
    assert instruction("vqa", "is {} red?") == "[vqa] is {} red?"
    assert instruction("identify", "{<1><2><3><4>}", 5) == "[identify] this {<1><2><3><4>} is"
    assert instruction("refer", "red circle", 9) == instruction("refer", "red circle", 2)
    assert instruction("caption", "", 17) == TEMPLATES["caption"][0]


@pytest.mark.parametrize(
    ("question", "words"),
    [
        (None, "missing"),
        (5, "not int"),
        (float("nan"), "not float"),
        (b"why", "not bytes"),
        ("", "empty"),
        (" \n\t", "empty"),
        ("\u200b\u00a0\x00", "empty"),
        ("[vqa]", "empty"),
        (" [refer] \n", "empty"),
        ("w" * 4001, "4001 characters; the limit is 4000"),
        ("why \ud800?", "half a character"),
    ],
)
def test_what_is_no_question_is_said_in_one_line(question: object, words: str) -> None:
    for refuse in (check_question, as_instruction):
        with pytest.raises(DataError, match=words) as caught:
            refuse(question)
        assert "\n" not in str(caught.value)


def test_every_other_text_may_be_asked() -> None:
    for question in ("?", "None", "nan", "was\tist\ndas?", "这是什么", "[caption]", "[other]", "[vqa] ?", "w" * 4000):
        assert check_question(question) == question


def test_a_record_without_a_question_asks_nothing_but_in_captions() -> None:
    assert {task for task in TASKS if not takes_question(task)} == {"caption", "grounding", "align"} & set(TASKS)


def test_questions_of_users_become_visual_questions_unless_they_name_a_task() -> None:
    assert as_instruction(" what colour? ") == "[vqa] what colour?"
    assert as_instruction("[refer] the circle") == "[refer] the circle"

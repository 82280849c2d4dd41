"""Instruction templates: the paper's, in number and in form."""

from __future__ import annotations

import pytest

from tinygptv.config import Task
from tinygptv.data.records import TASKS
from tinygptv.data.tasks import TEMPLATES, as_instruction, instruction, record_task

COUNTS = {"vqa": 2, "caption": 17, "refer": 7, "identify": 7, "grounding": 4, "detection": 1, "align": 4}


def test_counts_are_the_papers() -> None:
    assert {task: len(templates) for task, templates in TEMPLATES.items()} == COUNTS
    assert {*TEMPLATES} == {*TASKS, "align"}
    assert all(len(set(templates)) == len(templates) for templates in TEMPLATES.values())


@pytest.mark.parametrize("task", TASKS)
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


def test_questions_of_users_become_visual_questions_unless_they_name_a_task() -> None:
    assert as_instruction(" what colour? ") == "[vqa] what colour?"
    assert as_instruction("[refer] the circle") == "[refer] the circle"

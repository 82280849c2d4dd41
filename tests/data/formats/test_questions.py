"""Questions of one's own: what a person writes, and what is left out with a reason."""

from __future__ import annotations

import pytest

from tests.data.formats.official import draw, read_set, write_json, write_lines
from tinygptv.data.formats.questions import annotations
from tinygptv.data.records import Turn
from tinygptv.ground.errors import DataError

CAT = {"id": "cat-1", "image": "1.png", "question": "What is on the chair?", "answer": "a cat"}


def only(tmp_path, entry):
    """What becomes of one entry."""
    (item,) = annotations([write_json(tmp_path / "own.json", [entry])], "")
    return item


def test_an_answer(tmp_path):
    found = only(tmp_path, CAT)
    assert (found.id, found.images, found.answer, found.accepted) == ("cat-1", ("1.png",), "a cat", ())
    assert found.truth == {"answer": "a cat", "answers": {"a cat": 1.0}}


def test_answers_and_their_weights(tmp_path):
    entry = {key: CAT[key] for key in ("id", "image", "question")}
    found = only(tmp_path, {**entry, "answers": ["cat", ["a cat", 2], "cat", "kitten", ["cat", 0.5]]})
    assert found.answer == "cat"
    assert found.accepted == (("cat", 2.5), ("a cat", 2.0), ("kitten", 1.0))
    assert found.truth["answers"] == {"cat": 2.5, "a cat": 2.0, "kitten": 1.0}


@pytest.mark.parametrize("answer", ["dog", 1])
def test_choices(tmp_path, answer):
    found = only(tmp_path, {**CAT, "choices": ["cat", "dog"], "answer": answer, "type": "animal"})
    assert found.truth == {
        "answer": "dog",
        "answers": {"dog": 1.0},
        "choices": ["cat", "dog"],
        "right": [1],
        "type": "animal",
    }


def test_records_of_the_task_that_the_profile_names(tmp_path):
    write_lines(tmp_path / "own.jsonl", [CAT, {**CAT, "id": 7, "question": ""}])
    draw(tmp_path / "images" / "1.png")
    (first, second), rejected = read_set(tmp_path, "questions", ("own.jsonl",), task="caption")
    assert (first.record.task, second.record.id, rejected) == ("caption", "7", [])
    write_lines(tmp_path / "own.jsonl", [CAT])
    (found,), _ = read_set(tmp_path, "questions", ("own.jsonl",))
    assert (found.record.task, found.record.turns) == ("vqa", (Turn("What is on the chair?", "a cat"),))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"image": None}, "`image` must be text, not 'None'"),
        ({"id": None}, "`id` must be an id, text or a whole number, not 'None'"),
        ({"question": 3}, "`question` must be text, not '3'"),
        ({"answer": ""}, "an answer must be text, not ''"),
        ({"answer": 1}, "an answer must be text, not '1'"),
        ({"answers": ["a cat"]}, "must have either `answer` or `answers`"),
        ({"choices": ["cat"]}, "`choices` must be two texts or more"),
        ({"choices": ["cat", "cat"]}, "`choices` has a text twice"),
        ({"choices": ["cat", "dog"]}, "the answer 'a cat' is not among `choices`"),
        ({"choices": ["cat", "dog"], "answer": 2}, "an answer must be text, not '2'"),
        ({"type": 1}, "`type` must be text, not '1'"),
    ],
)
def test_what_is_left_out(tmp_path, change, reason):
    assert only(tmp_path, {**CAT, **change}) == {"id": "own.json, entry 1", "reason": reason}


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ([], "`answers` is empty"),
        ("cat", "`answers` must be a list, not 'cat'"),
        ([["cat", 0]], "the weight of an answer must be a number above 0, not '0'"),
        ([["cat", float("nan")]], "the weight of an answer must be a number above 0, not 'nan'"),
        ([["cat", True]], "the weight of an answer must be a number above 0, not 'True'"),
        ([["cat", 1, 2]], "an answer must be text, not \"['cat', 1, 2]\""),
    ],
)
def test_answers_that_are_none(tmp_path, answers, reason):
    entry = {"id": 1, "image": "1.png", "question": "What?", "answers": answers}
    assert only(tmp_path, entry)["reason"] == reason


def test_the_second_of_an_id_and_what_is_no_object_are_left_out(tmp_path):
    path = tmp_path / "own.jsonl"
    write_lines(path, [CAT, CAT, [1]])
    path.write_text(f"{path.read_text()}{{\n")
    first, *rest = annotations([path], "")
    assert first.id == "cat-1"
    assert [(item["id"], item["reason"].split(" (")[0]) for item in rest] == [
        ("own.jsonl, line 2", "the id cat-1 stands twice"),
        ("own.jsonl, line 3", "is no object"),
        ("own.jsonl, line 4", "is not valid JSON"),
    ]


def test_there_are_no_parts(tmp_path):
    with pytest.raises(DataError, match="have no parts"):
        list(annotations([write_json(tmp_path / "own.json", [CAT])], "val"))

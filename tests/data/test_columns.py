"""Columns are found by usual names or by those of the profile, and a row becomes one record."""

from __future__ import annotations

import pytest

from tinygptv.config import DataSet
from tinygptv.data.columns import check_columns, columns_of, pair_of, text_of
from tinygptv.data.record_rules import RecordError
from tinygptv.data.records import Turn
from tinygptv.ground.errors import DataError

PLAIN = DataSet(format="llava", licence="MIT")


def settings(**columns):
    return DataSet(format="llava", licence="MIT", columns=columns)


def row_of(row, given=None, image=b"x", **columns):
    return pair_of("a", row, columns_of(row, settings(**columns), "cats.csv"), image, given).record


@pytest.mark.parametrize(
    ("names", "image", "question", "answer"),
    [
        (["image", "caption"], "image", "", "caption"),
        (["Image", "Question", "Answer"], "Image", "Question", "Answer"),
        (["file_name", "text"], "file_name", "", "text"),
        (["text", "image", "question", "answer"], "image", "question", "answer"),
        (["jpg", "prompt", "response", "key"], "jpg", "prompt", "response"),
    ],
)
def test_usual_names(names, image, question, answer):
    found = columns_of(names, PLAIN, "cats.csv")
    assert (found.image, found.question, found.answer) == (image, question, answer)
    check_columns(found, names, "cats.csv")


def test_a_column_that_the_profile_names_wins_and_must_be_there():
    found = columns_of(["image", "text", "notes"], settings(answer="notes"), "cats.csv")
    assert (found.image, found.answer, found.id) == ("image", "notes", "")
    with pytest.raises(DataError) as raised:
        columns_of(["image", "text"], settings(answer="Text"), "cats.csv")
    assert str(raised.value) == ("cats.csv has no column 'Text'; there are 'image', 'text': correct `columns.answer`")


@pytest.mark.parametrize(("names", "role"), [(["caption"], "image"), (["image", "notes"], "answer"), ([], "image")])
def test_a_table_without_pictures_or_answers_is_told_which_columns_there_are(names, role):
    with pytest.raises(DataError, match=f"no column of .* by a usual name; there are .*`columns: {{{role}: NAME}}`"):
        check_columns(columns_of(names, PLAIN, "cats.csv"), names, "cats.csv")


def test_many_columns_are_not_all_told():
    with pytest.raises(DataError, match="and 80 more"):
        check_columns(columns_of([f"c{n}" for n in range(100)], PLAIN, "x"), [f"c{n}" for n in range(100)], "x")


def test_a_row_is_a_question_or_a_caption():
    asked = row_of({"image": "", "question": "What?", "answer": "a cat"})
    assert (asked.task, asked.turns) == ("vqa", (Turn("What?", "a cat"),))
    shown = row_of({"image": "", "question": " ", "answer": "a cat"})
    assert (shown.task, shown.turns) == ("caption", (Turn("", "a cat"),))
    assert row_of({"image": "", "question": "What?", "answer": 4}, "caption").turns == (Turn("", "4"),)
    assert row_of({"image": None, "question": "What?", "answer": "a cat"}, image=None).task == "conversation"


def test_several_answers_are_all_right_and_weigh_as_often_as_they_stand():
    record = row_of({"image": "", "captions": ["a cat", "a dog", "a dog", None, " "]})
    assert record.turns == (Turn("", "a dog", (("a cat", 1.0), ("a dog", 2.0))),)
    assert row_of({"image": "", "answers": [{"answer": "4"}]}).turns == (Turn("", "4"),)


def test_boxes_in_texts_are_boxes_of_the_record():
    record = row_of({"image": "", "question": "where?", "answers": ["{<1><2><3><4>}", "{<1><2><3><5>}"]}, "refer")
    assert set(record.boxes) == {(1, 2, 3, 4), (1, 2, 3, 5)}


@pytest.mark.parametrize(
    ("row", "given", "image", "words"),
    [
        ({"image": "", "text": None}, None, b"x", "`text` is empty"),
        ({"image": "", "text": float("nan")}, None, b"x", "`text` is empty"),
        ({"image": "", "captions": []}, None, b"x", "`captions` has no text"),
        ({"image": "", "text": {"a": 1}}, None, b"x", "`text` must be text, not an object"),
        ({"image": "", "text": b"a"}, None, b"x", "`text` must be text, not bytes"),
        ({"image": "", "text": True}, None, b"x", "`text` must be text, not true or false"),
        ({"image": "", "text": "a cat"}, "vqa", b"x", "has no question, and the task vqa asks one"),
        ({"image": "", "question": "", "text": "a cat"}, "vqa", b"x", "`question` is empty, and the task vqa"),
        ({"image": "", "text": "a cat"}, "caption", None, "has no picture, and the task caption"),
        ({"image": "", "text": "a cat"}, None, None, "has no question, and no picture"),
    ],
)
def test_a_row_that_is_no_record_is_told_why(row, given, image, words):
    with pytest.raises(RecordError) as raised:
        row_of(row, given, image)
    assert words in raised.value.reason


def test_numbers_are_read_as_they_are_written():
    assert [text_of(cell, "a") for cell in (3, 2.5, "x", None)] == ["3", "2.5", "x", ""]

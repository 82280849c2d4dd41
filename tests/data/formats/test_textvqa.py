"""TextVQA's file, and the same in VQA's form."""

from __future__ import annotations

import pytest

from tests.data.formats.vqa_files import annotation, annotations_file, write
from tinygptv.data.formats import textvqa
from tinygptv.ground.errors import DataError

ENTRY = {
    "question": "what does it say?",
    "image_id": "003a8ae2ef43b901",
    "question_id": 34602,
    "answers": ["nokia"] * 9 + ["toshiba"],
    "question_tokens": ["what"],
    "set_name": "val",
}
HEAD = {"dataset_type": "val", "dataset_name": "textvqa", "dataset_version": "0.5.1"}


def test_questions_and_answers(tmp_path):
    path = write(tmp_path / "TextVQA_0.5.1_val.json", {**HEAD, "data": [ENTRY]})
    (found,) = textvqa.annotations([path], "val")
    assert (found.id, found.question, found.answer) == ("34602", "what does it say?", "nokia")
    assert found.images[:2] == ("003a8ae2ef43b901.jpg", "train_images/003a8ae2ef43b901.jpg")
    assert found.truth == {"answer": "nokia", "answers": ENTRY["answers"]}


def test_the_file_of_a_split_among_others(tmp_path):
    for name in ("train", "val"):
        entry = {**ENTRY, "set_name": name, "question": name}
        write(tmp_path / f"TextVQA_0.5.1_{name}.json", {**HEAD, "dataset_type": name, "data": [entry]})
    files = sorted(tmp_path.iterdir())
    assert [item.question for item in textvqa.annotations(files, "train")] == ["train"]
    assert [item.question for item in textvqa.annotations(files, "")] == ["val"]


def test_the_form_of_vqa_is_read_too(tmp_path):
    path = annotations_file(tmp_path, [annotation(1, ["a", "a"], answer_type="number")])
    (found,) = textvqa.annotations([path], "val")
    assert (found.id, found.truth["answer_type"]) == ("1", "number")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({**HEAD, "dataset_type": "train", "data": [ENTRY]}, "is of train, not of val"),
        ({"data": [{**ENTRY, "set_name": "train"}]}, "is of train, not of val"),
        ({**HEAD, "data": [ENTRY, ENTRY]}, "data 2: the id 34602 stands twice"),
        ({**HEAD, "data": [{**ENTRY, "answers": []}]}, "data 1: `answers` is empty"),
        ({**HEAD, "data": [{key: ENTRY[key] for key in ENTRY if key != "answers"}]}, "data 1 has no `answers`"),
        ({**HEAD, "data": [{**ENTRY, "image_id": None}]}, "data 1: `image_id` must be an id"),
        ({**HEAD, "data": []}, "has neither `questions` nor `annotations`"),
        ([ENTRY], "begins with"),
    ],
)
def test_broken_files_are_one_line(tmp_path, content, words):
    path = write(tmp_path / "TextVQA_0.5.1_val.json", content)
    with pytest.raises(DataError, match=words):
        list(textvqa.annotations([path], "val"))

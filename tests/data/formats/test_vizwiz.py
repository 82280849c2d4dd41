"""VizWiz's file: answers, kinds and labels, and what is wrong with it in one line."""

from __future__ import annotations

import pytest

from tests.data.formats.vqa_files import write
from tinygptv.data.formats import vizwiz
from tinygptv.ground.errors import DataError

ANSWERS = ["unanswerable"] * 6 + ["soup"] * 4
ENTRY = {
    "image": "VizWiz_val_00000000.jpg",
    "question": "what is this?",
    "answers": [{"answer": text, "answer_confidence": "yes"} for text in ANSWERS],
    "answer_type": "unanswerable",
    "answerable": 0,
}


def test_questions_by_the_name_of_their_picture(tmp_path):
    (found,) = vizwiz.annotations([write(tmp_path / "val.json", [ENTRY])], "val")
    assert (found.id, found.images, found.question) == (ENTRY["image"], (ENTRY["image"],), "what is this?")
    assert found.truth == {
        "answer": "unanswerable",
        "answers": ANSWERS,
        "answer_type": "unanswerable",
        "answerable": 0,
    }


def test_own_pictures_without_kind_or_label(tmp_path):
    entry = {"image": "soup.jpg", "question": "what is this?", "answers": ["soup", "soup"]}
    (found,) = vizwiz.annotations([write(tmp_path / "mine.json", [entry])], "")
    assert found.truth == {"answer": "soup", "answers": ["soup", "soup"]}


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([{**ENTRY, "image": "VizWiz_train_00000000.jpg"}], r"val\.json is of train, not of val"),
        ([ENTRY, ENTRY], r"entry 2: the id VizWiz_val_00000000\.jpg stands twice"),
        ([{**ENTRY, "answers": []}], "entry 1: `answers` is empty"),
        ([{key: ENTRY[key] for key in ("image", "question")}], "entry 1 has no `answers`"),
        ([{**ENTRY, "answerable": "yes"}], "entry 1: `answerable` must be 0 or 1, not 'yes'"),
        ([{**ENTRY, "answerable": 2}], "`answerable` must be 0 or 1"),
        ([{**ENTRY, "image": 3}], "entry 1: `image` must be text"),
        ([3], "entry 1 is no object"),
    ],
)
def test_broken_files_are_one_line(tmp_path, entries, words):
    with pytest.raises(DataError, match=words):
        list(vizwiz.annotations([write(tmp_path / "val.json", entries)], "val"))


def test_a_file_of_another_split_is_not_taken(tmp_path):
    files = [write(tmp_path / f"{name}.json", [ENTRY]) for name in ("train", "test")]
    with pytest.raises(DataError, match=r"no file is of the part val; there is train\.json, test\.json"):
        list(vizwiz.annotations(files, ""))

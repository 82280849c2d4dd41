"""A-OKVQA's file: choices and direct answers, and what is wrong with it in one line."""

from __future__ import annotations

import pytest

from tests.data.formats.vqa_files import write
from tinygptv.data.formats import a_okvqa
from tinygptv.ground.errors import DataError

ENTRY = {
    "split": "val",
    "image_id": 299207,
    "question_id": "22MexNkBPpdZGX6sxbxVBH",
    "question": "What is the man by the bags awaiting?",
    "choices": ["skateboarder", "train", "delivery", "cab"],
    "correct_choice_idx": 3,
    "direct_answers": ["ride"] * 4 + ["bus"] * 3 + ["taxi", "taxi", "cab"],
    "difficult_direct_answer": True,
    "rationales": ["He has bags."],
}


def test_choices_and_direct_answers(tmp_path):
    (found,) = a_okvqa.annotations([write(tmp_path / "aokvqa_v1p0_val.json", [ENTRY])], "val")
    assert (found.id, found.answer) == (ENTRY["question_id"], "ride")
    assert found.images[:2] == ("000000299207.jpg", "val2017/000000299207.jpg")
    assert found.truth == {
        "answer": "ride",
        "answers": ENTRY["direct_answers"],
        "choices": ENTRY["choices"],
        "right": 3,
        "difficult": True,
    }


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([{**ENTRY, "split": "train"}], r"is of train, not of val"),
        ([ENTRY, ENTRY], "entry 2: the id 22MexNkBPpdZGX6sxbxVBH stands twice"),
        ([{**ENTRY, "direct_answers": []}], "entry 1: `direct_answers` is empty"),
        ([{key: ENTRY[key] for key in ENTRY if key != "direct_answers"}], "entry 1 has no `direct_answers`"),
        ([{key: ENTRY[key] for key in ENTRY if key != "correct_choice_idx"}], "has no `correct_choice_idx`"),
        ([{**ENTRY, "correct_choice_idx": 4}], "`correct_choice_idx` must be the place of a text in `choices`"),
        ([{**ENTRY, "correct_choice_idx": -1}], "must be the place"),
        ([{**ENTRY, "choices": [1, 2, 3, 4]}], "must be the place of a text"),
    ],
)
def test_broken_files_are_one_line(tmp_path, entries, words):
    with pytest.raises(DataError, match=words):
        list(a_okvqa.annotations([write(tmp_path / "aokvqa_v1p0_val.json", entries)], "val"))

"""A-OKVQA's file: choices and direct answers, and what is wrong with it in one line."""

from __future__ import annotations

import pytest

from tests.data.formats.official import draw, read_set
from tests.data.formats.trained import check_shares, drawn
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


TRAIN = {**ENTRY, "split": "train"}
FILE = "aokvqa_v1p0_train.json"


@pytest.fixture
def read(tmp_path):
    """``read(entries, picture)``: what is trained on of a file, with a picture of this name."""

    def make(entries, picture="COCO_train2014_000000299207.jpg"):
        draw(tmp_path / "images" / picture)
        write(tmp_path / FILE, entries)
        return read_set(tmp_path, "a_okvqa", (FILE,), part="train")

    return make


@pytest.mark.parametrize("picture", ["COCO_train2014_000000299207.jpg", "train2017/000000299207.jpg"])
@pytest.mark.parametrize(
    "image", ["train2014/COCO_train2014_000000299207.jpg", "coco/train2017/000000299207.jpg", None]
)
def test_the_training_file_with_or_without_lavis_s_key_of_the_picture(read, picture, image):
    entry = {key: TRAIN[key] for key in TRAIN if key != "image_id"} | {"image": image} if image else TRAIN
    (found,), rejected = read([entry], picture)
    assert rejected == []
    assert found.image.path.name == picture.rpartition("/")[2]


def test_a_broken_entry_to_train_on_is_left_out_with_a_reason(read):
    broken = [{**TRAIN, "direct_answers": []}, "text", {**TRAIN, "choices": None}, {**TRAIN, "image_id": 1}]
    (found,), rejected = read([*broken, TRAIN])
    assert found.record.id == ENTRY["question_id"] + "#2"
    assert [item["id"] for item in rejected] == [f"{FILE}, entry {n}" for n in (1, 2, 3)] + [ENTRY["question_id"]]
    assert rejected[0]["reason"] == "`direct_answers` is empty; name a file with answers"
    assert "is missing below" in rejected[3]["reason"]


def test_a_file_of_another_split_is_none_to_train_on(read):
    with pytest.raises(DataError, match=r"aokvqa_v1p0_train\.json is of val, not of train"):
        read([ENTRY])


def test_direct_answers_are_drawn_as_often_as_they_were_given(read, build, smoke, tokenizer):
    (found,), _ = read([TRAIN])
    counts = drawn(build, tokenizer, smoke.stage4, found, 2000)
    check_shares(counts.answered, {"ride": 0.4, "bus": 0.3, "taxi": 0.2, "cab": 0.1})
    assert len(counts.asked) == 2

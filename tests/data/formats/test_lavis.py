"""LAVIS's lists: which questions are read, what of people's votes is drawn, and what is refused in words."""

from __future__ import annotations

import pytest

from tests.data.formats.official import draw, read_set, write_json
from tests.data.formats.trained import check_shares, drawn
from tinygptv.data.records import Record, Turn
from tinygptv.data.tasks import TEMPLATES
from tinygptv.ground.errors import DataError

SAID = ["net"] * 5 + ["mesh"] * 3 + ["web", "fence"]


def entry(number=458752000, image="train2014/COCO_train2014_000000458752.jpg", **fields):
    """An entry of VQA v2's lists."""
    question = "What is this photo taken looking through?"
    known = {"image": image, "question": question, "question_id": number, "answer": SAID, "dataset": "vqa"}
    return {**known, **fields}


@pytest.fixture
def read(tmp_path):
    """``read(entries, **settings)``: what is found in a list, in a folder with the picture of its first entry."""

    def make(entries, **settings):
        draw(tmp_path / "images" / "COCO_train2014_000000458752.jpg")
        write_json(tmp_path / "vqa_train.json", entries)
        return read_set(tmp_path, "lavis", **{"files": ("vqa_train.json",), **settings})

    return make


def refusal(read, entries, **settings):
    with pytest.raises(DataError) as raised:
        read(entries, **settings)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_votes_become_weights(read):
    (found,), rejected = read([entry()])
    accepted = (("net", 5.0), ("mesh", 3.0), ("web", 1.0), ("fence", 1.0))
    turn = Turn("What is this photo taken looking through?", "net", accepted)
    assert found.record == Record("458752000", "vqa", (turn,))
    assert rejected == []


@pytest.mark.parametrize(
    "image",
    [
        "COCO_train2014_000000458752.jpg",
        "train2014/COCO_train2014_000000458752.jpg",
        "coco/images/train2014/COCO_train2014_000000458752.jpg",
        "train2017/000000458752.jpg",
        "000000458752.jpg",
    ],
)
def test_a_picture_has_coco_s_names_with_and_without_folders(read, image):
    (found,), _ = read([entry(image=image)])
    assert found.image.path.name == "COCO_train2014_000000458752.jpg"


def test_the_list_of_gqa_has_one_answer_and_other_pictures(read, tmp_path):
    draw(tmp_path / "images" / "2354786.jpg")
    gqa = {"image": "2354786.jpg", "question": "Is the sky dark?", "answer": "yes", "fullAnswer": "Yes, it is."}
    found, rejected = read([gqa, {**gqa, "question_id": "07333408"}, gqa])
    assert found[0].record.turns == (Turn("Is the sky dark?", "yes"),)
    assert [item.record.id for item in found] == ["2354786", "07333408", "2354786#2"], "without an id, the picture's"
    assert rejected == []


def test_a_part_is_the_folder_of_the_pictures(read, capsys):
    other = entry(42000, image="val2014/COCO_val2014_000000000042.jpg")
    found, rejected = read([entry(), other, {"question": "?"}], part="train2014")
    assert [item.record.id for item in found] == ["458752000"]
    assert [item["id"] for item in rejected] == ["vqa_train.json, entry 3"], "what has no picture is in no other folder"
    assert capsys.readouterr().err == "asked: 1 questions are about images that are not in train2014, its `part`\n"
    found, rejected = read([entry(), other])
    assert rejected == [
        {"id": "42000", "reason": f"its image {other['image']!r} is missing below {found[0].image.path.parent}"}
    ]


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        (
            [entry(image="val2014/COCO_val2014_000000000042.jpg")],
            "no image of its files is in train2014, but in val2",
        ),
        ([entry(image="1.jpg")], "no image of its files is in train2014, but in no folder"),
        ([{key: value for key, value in entry().items() if key != "answer"}] * 2, "no entry has an `answer`, as in"),
        (
            {"questions": [], "data_subtype": "train2014"},
            "is no list, as LAVIS's are; VQA's own files are the form",
        ),
    ],
)
def test_files_of_another_split_or_form_are_told(read, entries, words):
    assert words in refusal(read, entries, part="train2014")


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ("text", "is no object"),
        (entry(image=7), "`image` must be text, not '7'"),
        (entry(answer=[]), "`answer` is empty; name a file with answers"),
        (entry(answer=7), "`answer` must be a list, not '7'"),
        (entry(answer=["a", None]), "`answer` must hold texts, not 'None'"),
        (entry(question=None), "`question` must be text, not 'None'"),
        (entry(question_id=1.5), "`question_id` must be an id, text or a whole number, not '1.5'"),
        (entry(image="train2014/COCO_train2014_000000000001.jpg"), "is missing below"),
    ],
)
def test_a_broken_entry_is_left_out_with_a_reason(read, broken, reason):
    found, (rejection,) = read([broken, entry()])
    assert len(found) == 1
    assert reason in rejection["reason"]
    assert "\n" not in rejection["reason"]


def test_ten_thousand_draws_follow_the_votes_and_both_instructions(read, build, smoke, tokenizer):
    (found,), _ = read([entry()])
    counts = drawn(build, tokenizer, smoke.stage4, found, 10_000)
    check_shares(counts.answered, {"net": 0.5, "mesh": 0.3, "web": 0.1, "fence": 0.1})
    question = found.record.turns[0].question
    check_shares(counts.asked, {template.replace("{}", question): 0.5 for template in TEMPLATES["vqa"]})
    assert set(counts.asked) == {
        f"[vqa] {question}",
        f"[vqa] Based on the image, respond to this question with a short answer: {question}",
    }

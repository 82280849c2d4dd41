"""REFER's files to train on: an object is a record, asked for in one of its sentences, or named by one of them."""

from __future__ import annotations

import json
import pickle

import pytest

from tests.data.formats.official import draw, read_set, write_json
from tests.data.formats.test_refer import INSTANCES, entry, ref
from tests.data.formats.trained import check_shares, drawn
from tests.data.test_unpickle_refs import Canary
from tinygptv.data.records import Record, Turn
from tinygptv.data.tasks import TEMPLATES
from tinygptv.ground.errors import DataError

DOG = ref(1, "train", "a dog", "left dog", "dog that sits")
OTHERS = [ref(2, "train", "whole picture", ann=2), ref(3, "val", "man", "him", ann=3)]
WHERE = "{<1><4><6><12>}"


@pytest.fixture
def read(tmp_path):
    """``read(refs, **settings)``: what is found in REFER's two files, with both pictures."""

    def make(refs, instances=INSTANCES, **settings):
        for number in (9, 11):
            draw(tmp_path / "images" / f"COCO_train2014_{number:012d}.jpg", number)
        write_json(tmp_path / "refcoco" / "instances.json", instances)
        (tmp_path / "refcoco" / "refs(unc).p").write_bytes(pickle.dumps(refs, protocol=2))
        return read_set(tmp_path, "refer", **{"files": ("refcoco",), "part": "train", **settings})

    return make


def test_an_object_is_a_record_with_its_sentences_as_people_wrote_them(read):
    (dog, whole), rejected = read([DOG, *OTHERS])
    wordings = ("A DOG", "LEFT DOG", "DOG THAT SITS")
    assert dog.record == Record("1", "refer", (Turn("A DOG", WHERE, (), wordings),), ((1, 4, 6, 12),))
    assert whole.record == Record("2", "refer", (Turn("WHOLE PICTURE", "{<0><0><100><100>}"),), ((0, 0, 100, 100),))
    assert dog.image.path.name == "COCO_train2014_000000000009.jpg"
    assert rejected == []


def test_turned_round_the_sentences_are_the_answers(read):
    (dog, whole), _ = read([ref(1, "train", "a dog", "the dog", "a dog"), *OTHERS], task="identify")
    answers = (("A DOG", 2.0), ("THE DOG", 1.0))
    assert dog.record == Record("1", "identify", (Turn(WHERE, "A DOG", answers),), ((1, 4, 6, 12),))
    assert whole.record.turns == (Turn("{<0><0><100><100>}", "WHOLE PICTURE"),)


def test_without_their_raw_words_the_plain_ones_are_taken(read):
    plain = {**DOG, "sentences": [{"sent_id": 1, "sent": "a dog"}, {"sent_id": 2, "sent": " ", "raw": " "}]}
    ((found,), _) = read([plain])
    assert found.record.turns == (Turn("a dog", WHERE),)


def test_other_parts_have_a_record_for_each_sentence_as_before(read):
    found, _ = read([DOG, *OTHERS], part="val")
    assert [(item.record.id, item.record.turns[0].question) for item in found] == [("30", "man"), ("31", "him")]
    assert found[0].record.annotation["width"] == 640
    (turned,), _ = read([DOG, *OTHERS], part="val", task="identify")
    assert [text for text, _ in turned.record.turns[0].accepted] == ["MAN", "HIM"]


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (ref(4, "train", "a", ann=77), "its annotation 77 is not in"),
        (ref(4, "train", "a", image=77), "its image 77 is not in"),
        ({**ref(4, "train"), "sentences": []}, "has no expression"),
        ({**ref(4, "train"), "sentences": [{"sent_id": 3}]}, "has no `sent`"),
        ({key: value for key, value in DOG.items() if key != "ref_id"}, "`ref_id` must be an id"),
        ({key: value for key, value in DOG.items() if key != "image_id"}, "`image_id` must be an id"),
    ],
)
def test_a_broken_object_is_left_out_with_its_place(read, broken, reason):
    found, (rejection,) = read([broken, *OTHERS])
    assert [item.record.id for item in found] == ["2"]
    assert rejection["id"] == "refs(unc).p, entry 1"
    assert reason in rejection["reason"]


def test_a_picture_that_is_missing_is_counted(read, tmp_path):
    (tmp_path / "none").mkdir()
    found, rejected = read([DOG, *OTHERS], images="none")
    assert found == []
    assert [item["id"] for item in rejected] == ["1", "2"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"instances": {**INSTANCES, "annotations": []}}, "has no object of"),
        ({"task": "vqa"}, "data set asked: expressions become records of refer or identify"),
        ({"part": "testB"}, "has nothing of the split testB; it has train, val"),
    ],
)
def test_files_that_do_not_fit_are_one_line(read, changes, words):
    with pytest.raises(DataError) as raised:
        read([DOG, *OTHERS], **changes)
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


def test_code_in_the_pickle_is_refused_and_not_run(read, tmp_path):
    with pytest.raises(DataError) as raised:
        read([DOG, Canary(tmp_path / "canary")])
    assert "holds code or objects (posix.system), which were not run" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "canary").exists()


def test_refers_expressions_as_json_are_told_from_minigpt4s(read, tmp_path):
    read([DOG])
    (tmp_path / "refcoco" / "refs(unc).p").unlink()
    told = {
        json.dumps([DOG]): r"refs_train\.json has REFER's expressions as JSON; name its own refs\(unc\)\.p or refs",
        json.dumps(DOG): r"neither REFER's refs\(unc\)\.p nor a list of MiniGPT-4's is among instances\.json, refs_tr",
    }
    for text, words in told.items():
        (tmp_path / "refcoco" / "refs_train.json").write_text(text)
        with pytest.raises(DataError, match=words):
            read_set(tmp_path, "refer", files=("refcoco",), part="train")


def test_a_list_of_minigpt4s_is_trained_on_alike(read, tmp_path):
    read([DOG])
    image = "COCO_train2014_000000000009_1"
    write_json(tmp_path / "refcoco_train.json", [entry(image, sents=["the man", "him"]), entry(image, bbox=None)])
    (found,), rejected = read_set(tmp_path, "refer", files=("refcoco_train.json",), part="train")
    assert found.record == Record(
        image, "refer", (Turn("the man", "{<0><2><2><6>}", (), ("the man", "him")),), ((0, 2, 2, 6),)
    )
    assert "bbox must be four numbers" in rejected[0]["reason"]


def test_sentences_and_all_seven_instructions_are_drawn_alike(read, build, smoke, tokenizer):
    (found,), _ = read([DOG])
    counts = drawn(build, tokenizer, smoke.stage4, found, 2000)
    ways = {
        template.replace("{}", text): 1 / 21
        for template in TEMPLATES["refer"]
        for text in ("A DOG", "LEFT DOG", "DOG THAT SITS")
    }
    assert len(ways) == 21
    check_shares(counts.asked, ways)
    assert counts.answered == {WHERE: 2000}


def test_turned_round_all_seven_instructions_and_the_sentences_are_drawn_alike(read, build, smoke, tokenizer):
    (found,), _ = read([DOG], task="identify")
    counts = drawn(build, tokenizer, smoke.stage4, found, 2000)
    assert len(TEMPLATES["identify"]) == 7
    check_shares(counts.asked, {template.replace("{}", WHERE): 1 / 7 for template in TEMPLATES["identify"]})
    check_shares(counts.answered, dict.fromkeys(("A DOG", "LEFT DOG", "DOG THAT SITS"), 1 / 3))
